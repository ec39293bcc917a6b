"""Recognise secrets by their names and in URLs, and hide them.

Used in the training process and in the worker: a secret must not even cross the socket.
"""

from __future__ import annotations

import re

MASK = "********"

_SECRET = re.compile(r"passw(or)?d|passphrase|secret|api_?key|access_?key|private_?key|auth_?key|credential", re.I)
# "token" has two meanings in this field: hf_token is a secret, pad_token and max_tokens are not.
_TOKEN = re.compile(r"(?:^|_)token(?:_(?:value|string))?$", re.I)
_TEXT_TOKEN = re.compile(
    r"(?:^|_)(?:pad|padding|eos|bos|unk|unknown|mask|sep|cls|special|image|audio|video|vision|stop|start|end|eot|sot|eop"
    r"|class|word|text|begin|next|last|first|new|per|by|each|target|source|src|tgt|trigger|placeholder|initializer"
    r"|instance|null|blank|prefix|suffix|separator|think|tool)_token$",
    re.I,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# SQLAlchemy accepts / ? and # unquoted in a database's password; in other URLs, `host:80/` is an address.
_WEB = r"(?:https?|wss?|s?ftp|git|(?:git\+)?(?:https?|ssh|file))"
_SCHEME = rf"(?:(?P<web>{_WEB})|(?!{_WEB}:)[a-z][a-z0-9+.-]{{0,40}})"
_UP_TO_AT = r"(?(web)(?!\d{1,5}[/?#]))[^\s@\"'<>]{1,2000}"
_URL_PASSWORD = re.compile(
    rf"(?<![a-z0-9+.-])(?P<start>{_SCHEME}://[^\s/:@?#]*):(?:[^\s/@?#]{{1,2000}}|{_UP_TO_AT})@"
    r"(?:[^\s/?#@\"'<>]*@)*",
    re.I,
)
_URL = re.compile(
    rf"(?P<scheme>{_SCHEME})://(?:(?P<user>[^/?#]*|[^/:@?#]*:{_UP_TO_AT}(?:@[^/?#@]*)*)@)?(?P<rest>.*)", re.I | re.S
)
# A token may be in the place of the user name: https://ghp_…@github.com. User names are shorter, or have no digit.
_URL_TOKEN = re.compile(r"(?P<start>\bhttps?://)(?=[^\s/@?#]*\d)[^\s/:@?#]{16,}@", re.I)
_URL_QUERY = re.compile(r"(?P<start>[?&](?P<name>[^\s?&=#/]{1,100})=)[^\s&#'\"]+")
_BEARER = re.compile(r"(?P<start>\bbearer )[\w.~+/=-]{8,}", re.I)
_PAIR = re.compile(r"""(?P<name>[\w.-]{1,100})=(?:'[^'\n]+'|"[^"\n]+"|[^\s,;'"]+)""")
_QUOTED_NAME = re.compile(r"""(?<!\\)(?P<quote>\\{0,40}["'])(?P<name>[\w.-]{1,100})(?P=quote)\s*:\s*""")
_EMPTY = ("''", '""', "None", "null")
_LINE = re.compile(
    r"^(?P<start>[ \t]*(?:-[ \t]+|export[ \t]+)?(?P<name>[\w.-]{1,100})[ \t]*[:=][ \t]*)(?![{\[|>&]|\s)[^\r\n]+", re.M
)
"""A name and its value in a file of settings (YAML, TOML, INI, `.env`); not a value that goes on below."""
_JSON_WORD = re.compile(r"[^\s,}\]]*")

_NAMED = re.compile(r"ssh|^wasbs?$|^abfss?$", re.I)


def is_secret(name: str) -> bool:
    """Return True if a value of this name (an option, a parameter, a field) must not be shown."""
    name = _CAMEL.sub("_", name.strip("-")).replace("-", "_").replace(".", "_").replace(" ", "_")
    return bool(_SECRET.search(name) or (_TOKEN.search(name) and not _TEXT_TOKEN.search(name)))


def hide(value: str) -> str:
    """Return the mask; an empty value stays empty, because it is not secret and often the cause of a problem."""
    return MASK if value else ""


def hint(value: str) -> str:
    """Return the beginning of a long value, by which its owner recognises it; the mask for a short one."""
    return f"{value[:4]}…" if len(value) >= 16 else hide(value)


def hide_in_text(text: str) -> str:
    """Return the text with the passwords and tokens of URLs and of `Bearer` headers hidden."""
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(rf"\g<start>:{MASK}@", text)
        text = _URL_TOKEN.sub(rf"\g<start>{MASK}@", text)
    if "://" in text and "=" in text:
        text = _URL_QUERY.sub(_hide_in_query, text)
    return _BEARER.sub(rf"\g<start>{MASK}", text) if "earer " in text else text


def hide_in_arguments(text: str) -> str:
    """Return a command line with secrets hidden: those of `hide_in_text`, and the values of secret `name=value`."""
    return _PAIR.sub(_hide_in_pair, hide_in_text(text)) if "=" in text else hide_in_text(text)


def hide_named(name: str, value: str) -> str:
    """Return a value as it may be shown, considering its name, and the names in a dictionary or a data class."""
    return hide(value) if is_secret(name) else hide_in_arguments(_hide_quoted_names(value))


def hide_in_settings(text: str) -> str:
    """Return the text of a file of settings (YAML, JSON, TOML, INI, `.env`) with the values of secret names hidden."""
    return hide_in_text(_hide_quoted_names(_LINE.sub(_hide_in_line, text)))


def hide_in_json(text: str) -> str:
    """Return a text that may be JSON with secrets hidden: those of `hide_in_arguments`, and values of secret names.

    JSON that was cut short is searched for names and values.
    """
    if not text.startswith(("{", "[", '"')):
        return hide_in_arguments(text)
    import json

    try:
        value = json.loads(text)
        hidden = hidden_in(value)
        return text if hidden == value else json.dumps(hidden, ensure_ascii=False)
    except (ValueError, RecursionError):
        return hide_in_arguments(_hide_quoted_names(text))


def hidden_in(value: object) -> object:
    """Return a JSON value with secrets hidden, as `hide_in_json` hides them; JSON within its texts too."""
    if isinstance(value, str):
        return hide_in_json(value)
    if isinstance(value, list):
        return [hidden_in(item) for item in value]
    if isinstance(value, dict):
        return {key: MASK if item and is_secret(str(key)) else hidden_in(item) for key, item in value.items()}
    return value


def _hide_quoted_names(text: str) -> str:
    """Return JSON that no parser takes, or a dictionary as Python shows it, with the values of secret names hidden.

    Rather too much than too little.
    """
    parts, at = list[str](), 0
    for match in _QUOTED_NAME.finditer(text):
        if match.start() >= at and is_secret(match["name"]):
            start, end = match.end(), _end_of_json_value(text, match.end(), match["quote"])
            if text[start:end] not in _EMPTY:
                quote = match["quote"]
                parts.append(f"{text[at:start]}{quote[-1]}{MASK}{quote[-1]}")
                at = end
    return "".join(parts) + text[at:]


def _end_of_json_value(text: str, start: int, quote: str) -> int:
    """Return where a value ends; the end of the text for a list or an object, and for one that was cut."""
    if not text.startswith(quote, start) and text[start : start + 1] in ("'", '"'):  # Python chooses the one that fits
        quote = text[start]
    if text.startswith(quote, start):
        end = re.compile(rf"(?<!\\){re.escape(quote)}").search(text, start + len(quote))
        return end.end() if end else len(text)
    word = None if text[start : start + 1] in ("{", "[") else _JSON_WORD.match(text, start)
    return word.end() if word else len(text)


def _hide_in_query(match: re.Match[str]) -> str:
    secret = is_secret(match["name"]) or "signature" in match["name"].lower()
    return f"{match['start']}{MASK}" if secret else match[0]


def _hide_in_line(match: re.Match[str]) -> str:
    return f"{match['start']}{MASK}" if is_secret(match["name"]) else match[0]


def _hide_in_pair(match: re.Match[str]) -> str:
    return f"{match['name']}={MASK}" if is_secret(match["name"]) else match[0]


def without_credentials(url: str) -> str:
    """Return the URL without password, token or user name.

    The user name of an ssh address is not secret and stays, as does the container in an address of Azure's storage.
    """
    if "@" not in url and "?" not in url:
        return url
    from urllib.parse import parse_qsl, urlencode

    match = _URL.match(url)
    if match is None:
        return url
    user = (match["user"] or "").partition(":")[0] if _NAMED.search(match["scheme"]) else ""
    rest, question, query = match["rest"].partition("?")
    if question:
        query, hash_sign, fragment = query.partition("#")
        kept = [
            (name, value) for name, value in parse_qsl(query) if not is_secret(name) and "signature" not in name.lower()
        ]
        rest += ("?" + urlencode(kept) if kept else "") + hash_sign + fragment
    return f"{match['scheme']}://{user + '@' if user else ''}{rest}"
