"""One installed distribution: its name, its modules, and the requirement line that installs it elsewhere.

This module reads the files of the `.dist-info` folder itself: `metadata.Distribution.metadata` and `.files` parse far
more than needed, and raise if a file is missing or broken.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from autoinstrument.capture.checkout import Checkout
from autoinstrument.scrubber import without_credentials

_MODULE_FILE = re.compile(r"([^,]+?)(?:\.py|(?:\.[\w-]+)*\.(?:so|pyd))(?:,|$)")
_MAPPING = re.compile(r"^MAPPING\b[^=\n]*= (\{.*\})$", re.M)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def key_of(name: str) -> str:
    """Return the normalised name (PEP 503), which is the same for all spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(distribution: metadata.Distribution) -> Installed | None:
    """Return a distribution's data, None if it has no name or no version."""
    name = version = ""
    needs = []
    for line in _text(distribution, "METADATA", "PKG-INFO").split("\n"):
        if not line.strip():
            break  # the description follows
        field, _, value = line.partition(":")
        if field.lower() == "name":
            name = value.strip()
        elif field.lower() == "version":
            version = value.strip()
        elif field.lower() == "requires-dist" and "extra ==" not in value and (match := _NAME.match(value.strip())):
            needs.append(key_of(match.group()))
    if not _NAME.fullmatch(name) or not version:
        return None
    return Installed(key_of(name), name, version, needs, distribution)


class Installed(NamedTuple):
    """A distribution on the path of the training process."""

    key: str
    name: str
    version: str
    required: list[str]
    distribution: metadata.Distribution

    def needs(self) -> list[str]:
        """Return the normalised names of the distributions that it requires, without those of its extras."""
        return self.required

    def module_names(self, tops: set[str]) -> set[str]:
        """Return the dotted names of its modules whose first part is in `tops`."""
        names = set(_module_names(_text(self.distribution, "RECORD", "installed-files.txt", "SOURCES.txt"), tops))
        folder = self._local_folder()
        if folder is not None or not names:
            declared = {name.strip() for name in _text(self.distribution, "top_level.txt").split("\n")}
            names |= (declared | set(self._editable_names(folder, tops))) & tops
        return names

    def requirement(self) -> str:
        """Return the line for a requirements file, below a comment if the line cannot reproduce the installation.

        `direct_url.json` holds the source of an installation (PEP 610). A folder or file of this machine cannot be
        installed elsewhere: a Git checkout is replaced by its remote, anything else by its version.
        """
        pinned = f"{self.name}=={self.version}"
        origin = _json(_text(self.distribution, "direct_url.json"))
        url = without_credentials(str(origin.get("url", "")))
        if not url:
            return pinned
        vcs, archive = origin.get("vcs_info"), origin.get("archive_info")
        below = f"subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
        if isinstance(vcs, dict) and not url.startswith("file:"):
            revision = vcs.get("commit_id") or vcs.get("requested_revision") or ""
            return f"{self.name} @ {vcs.get('vcs', 'git')}+{url}@{revision}" + (f"#{below}" if below else "")
        if isinstance(archive, dict) and not url.startswith("file:"):
            fragment = "&".join(filter(None, [_hash(archive), below]))
            return f"{self.name} @ {url}" + (f"#{fragment}" if fragment else "")
        if self.key == "autoinstrument":
            return pinned
        folder = self._local_folder()
        checkout = Checkout.of(folder) if folder is not None else None
        if folder is not None and checkout is not None and checkout.remote and checkout.commit:
            inside = checkout.inside(folder)
            return (
                f"# {self.name} {self.version} came from a local Git checkout; its uncommitted changes are not here:\n"
                f"{self.name} @ git+{_pip_url(checkout.remote)}@{checkout.commit}"
            ) + (f"#subdirectory={inside}" if inside not in ("", ".") else "")
        return f"# {self.name} was installed from a local {'folder' if folder else 'file'}, {url}:\n{pinned}"

    def _local_folder(self) -> Path | None:
        origin = _json(_text(self.distribution, "direct_url.json"))
        url = str(origin.get("url", ""))
        if not url.startswith("file:") or "dir_info" not in origin:
            return None
        return Path(unquote(urlsplit(url).path))

    def _editable_names(self, folder: Path | None, tops: set[str]) -> Iterator[str]:
        """Yield the top-level names that an editable installation provides."""
        roots = [] if folder is None else [folder, folder / "src"]
        for line in _text(self.distribution, "RECORD").split("\n"):
            file = line.split(",")[0]
            if not file.endswith((".pth", "_finder.py")):
                continue
            try:
                text = Path(str(self.distribution.locate_file(file))).read_text(encoding="utf-8")
            except (OSError, ValueError):
                continue
            if file.endswith(".pth"):
                roots += [Path(root) for root in text.split("\n") if root and not root.startswith(("import ", "#"))]
            elif match := _MAPPING.search(text):  # setuptools' finder (seen in 65 to 80)
                yield from (str(name).partition(".")[0] for name in ast.literal_eval(match.group(1)))
        for top in tops:
            if any((root / top).is_dir() or (root / f"{top}.py").is_file() for root in roots):
                yield top


def _module_names(record: str, tops: set[str]) -> Iterator[str]:
    for line in record.split("\n"):
        if re.split(r"[/.]", line, maxsplit=1)[0] in tops and (match := _MODULE_FILE.match(line)):
            yield match.group(1).removesuffix("/__init__").replace("/", ".")


def _text(distribution: metadata.Distribution, *names: str) -> str:
    for name in names:
        try:
            text = distribution.read_text(name)
        except (OSError, ValueError):  # unreadable, or not UTF-8
            continue
        if text:
            return text.replace("\r\n", "\n")
    return ""


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _hash(archive: dict[str, Any]) -> str:
    hashes = archive.get("hashes")
    if isinstance(hashes, dict) and hashes:
        name = "sha256" if "sha256" in hashes else next(iter(hashes))
        return f"{name}={hashes[name]}"
    return str(archive.get("hash") or "")


def _pip_url(remote: str) -> str:
    """Return a Git remote in a form that pip accepts: Git's short form `git@host:path` becomes a URL."""
    match = re.fullmatch(r"([^/:@]+@)?([^/:@]+):(?!//)(.+)", remote)
    return f"ssh://{match[1] or ''}{match[2]}/{match[3].lstrip('/')}" if match else remote
