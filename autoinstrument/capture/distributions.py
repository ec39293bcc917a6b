"""One installed distribution: its name, its modules, and the requirement line that installs it elsewhere.

This module reads the files of the `.dist-info` folder itself: `metadata.Distribution.metadata` and `.files` parse far
more than needed, and raise if a file is missing or broken.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
from collections.abc import Iterator
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from autoinstrument.capture.checkout import Checkout
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.scrubber import without_credentials

# Lines of files, of which RECORD may have thousands, that begin with the same file or folder at the top.
_SAME_TOP = re.compile(r"\n([^/,\n]+)[^\n]*(?:\n\1[/,][^\n]*)*")
_EMPTY_LINE = re.compile(r"\n\r?\n")
_MAPPING = re.compile(r"^MAPPING\b[^=\n]*= (\{.*\})$", re.M)
_OF_CONDA = {"torch": "pytorch"}
"""Packages that conda calls otherwise than PyPI does, as far as clearml-agent knows them (3.0.3)."""
_LISTS = ("installed-files.txt", "SOURCES.txt")
"""Lists of files of distributions without RECORD: setuptools' eggs."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_READ_BY_AGENTS = ("git+https://", "git+ssh://", "hg+", "svn+", "bzr+")
"""Addresses of repositories that clearml-agent installs from. Of `x @ git+file://…` and `x @ git+http://…` it keeps the
name alone, and it turns `git+git://` into ssh (3.0.3, `requirements_parser/vcs.py` and `external_req.py`)."""
_NOT_READ = (
    "a ClearML agent understands only https and ssh, and installs this package from its index, or PIP_FIND_LINKS"
)


def key_of(name: str) -> str:
    """Return the normalised name (PEP 503), which is the same for all spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(distribution: metadata.Distribution) -> Installed | None:
    """Return a distribution's data, None if it has no name or no version."""
    name = version = ""
    needs = []
    # The description follows after an empty line.
    for line in _EMPTY_LINE.split(_text(distribution, "METADATA", "PKG-INFO").lstrip("\r\n"), 1)[0].splitlines():
        field, _, value = line.partition(":")
        field = field.lower()
        if field == "name":
            name = value.strip()
        elif field == "version":
            version = value.strip()
        elif field == "requires-dist" and "extra ==" not in value and (match := _NAME.match(value.strip())):
            needs.append(key_of(match.group()))
    if not _NAME.fullmatch(name) or not version:
        return None
    return Installed(name, version, needs, distribution)


class Requirement(NamedTuple):
    """The requirement that installs a distribution on another machine."""

    line: str
    """As pip reads it."""
    note: str = ""
    """How the installation here differs, "" if it does not."""
    is_missing: bool = False
    """True if another machine does not find it, unless a person provides it."""

    @property
    def text(self) -> str:
        """The line, below a comment if there is something to note."""
        return f"# {self.note}:\n{self.line}" if self.note else self.line


class Installed:
    """A distribution on the path of the training process; what was read of it is kept, for any thread.

    Attributes:
        key: its normalised name.
        needs: normalised names of the distributions that it requires, without those of its extras.
    """

    def __init__(self, name: str, version: str, needs: list[str], distribution: metadata.Distribution) -> None:
        self.key, self.name, self.version, self.needs = key_of(name), name, version, needs
        self._distribution = distribution
        self._modules: dict[str, set[str]] = {}
        """Names of modules by their first part, as far as they were asked for."""
        self._files: _Files | None = None

    def module_names(self, tops: set[str]) -> set[str]:
        """Return the dotted names of its modules whose first part is in `tops`."""
        record = None if self._files else self._record()
        files = self._files = self._files or _Files.of(record or "")
        known = files.tops & tops
        if wanted := known - self._modules.keys():
            found: dict[str, set[str]] = {top: set() for top in wanted}
            for name in _module_names(self._record() if record is None else record):
                if (top := name.partition(".")[0]) in wanted:
                    found[top].add(name)
            self._modules.update(found)
        names = set().union(*(self._modules[top] for top in known))
        folder = self._local_folder
        if folder is not None or not names:
            names |= (self._declared | set(self._editable_names(folder, tops, files.of_paths))) & tops
        return names

    def requirement(self) -> Requirement:
        """Return the line for a requirements file.

        `direct_url.json` holds the source of an installation (PEP 610). A folder or file of this machine cannot be
        installed elsewhere: a Git checkout is replaced by its remote, anything else by its version.
        """
        pinned = f"{self.name}=={self.version}"
        origin = self._origin
        url = without_credentials(str(origin.get("url", "")))
        if not url or self._is_of_conda:
            return Requirement(pinned)
        vcs, archive = origin.get("vcs_info"), origin.get("archive_info")
        below = f"subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
        if isinstance(vcs, dict) and not url.startswith("file:"):
            revision = vcs.get("commit_id") or vcs.get("requested_revision") or ""
            address = f"{vcs.get('vcs', 'git')}+{url}"
            line = f"{self.name} @ {address}@{revision}" + (f"#{below}" if below else "")
            if address.startswith(_READ_BY_AGENTS):
                return Requirement(line)
            return Requirement(line, f"{self.name} was installed from {url}; {_NOT_READ}", is_missing=True)
        if isinstance(archive, dict) and not url.startswith("file:"):
            fragment = "&".join(filter(None, [_hash(archive), below]))
            return Requirement(f"{self.name} @ {url}" + (f"#{fragment}" if fragment else ""))
        folder = self._local_folder
        checkout = Checkout.of(folder) if folder is not None else None
        if folder is not None and checkout is not None and checkout.remote and checkout.commit:
            inside = checkout.inside(folder)
            address = f"git+{pip_url(checkout.remote)}"
            line = f"{self.name} @ {address}@{checkout.commit}" + (
                f"#subdirectory={inside}" if inside not in ("", ".") else ""
            )
            came = f"{self.name} {self.version} came from a local Git checkout"
            if not checkout.is_published():
                return Requirement(
                    line, f"{came}, whose commit {checkout.commit[:8]} no remote branch has; push it", is_missing=True
                )
            if not address.startswith(_READ_BY_AGENTS):
                return Requirement(line, f"{came} of {checkout.remote}; {_NOT_READ}", is_missing=True)
            return Requirement(line, f"{came}; its uncommitted changes are not here")
        return Requirement(
            pinned,
            f"{self.name} was installed from a local {'folder' if folder else 'file'}, {url}; "
            "other machines need a package index, or PIP_FIND_LINKS, with this version",
            is_missing=True,
        )

    @cached_property
    def _origin(self) -> dict[str, Any]:
        return _json(_text(self._distribution, "direct_url.json"))

    @property
    def conda_name(self) -> str:
        """Name of the conda package that it came with, as an agent knows it; "" if it came by other ways.

        As in ClearML's SDK, a package that conda calls otherwise than PyPI does is left to pip.
        """
        folder = getattr(self._distribution, "_path", None)
        if not (isinstance(folder, Path) and self._is_of_conda):
            return ""
        for prefix in folder.parents[:5]:  # <prefix>/lib/python3.11/site-packages, <prefix>/Lib/site-packages
            with contextlib.suppress(OSError):
                names = [file.name.rsplit("-", 2)[0] for file in (prefix / "conda-meta").iterdir()]
                wanted = _OF_CONDA.get(self.key, self.key)
                found = next((name for name in names if key_of(name) == wanted), "")
                return self.name if self.key in _OF_CONDA and found else found
        return ""

    @property
    def _is_of_conda(self) -> bool:
        """True if conda has installed it: `direct_url.json` is then about the machine that built the package."""
        return _text(self._distribution, "INSTALLER").strip() == "conda"

    @cached_property
    def _declared(self) -> set[str]:
        return {name.strip() for name in _text(self._distribution, "top_level.txt").split("\n")}

    @property
    def _local_folder(self) -> Path | None:
        url = str(self._origin.get("url", ""))
        if not url.startswith("file:") or "dir_info" not in self._origin:
            return None
        return Path(unquote(urlsplit(url).path))

    def _record(self) -> str:
        """Return the list of its files, each between a line feed and a comma."""
        if "," in (record := _text(self._distribution, "RECORD")):
            return f"\n{record}"
        return ",\n".join(["", *(record or _text(self._distribution, *_LISTS)).splitlines(), ""])

    def _editable_names(self, folder: Path | None, tops: set[str], files: list[str]) -> Iterator[str]:
        """Yield the top-level names that an editable installation provides, by the `files` that extend the path."""
        roots = [] if folder is None else [folder, folder / "src"]
        for file in files:
            try:
                text = Path(str(self._distribution.locate_file(file))).read_text(encoding="utf-8")
            except (OSError, ValueError):
                continue
            if file.endswith(".pth"):
                roots += [Path(root) for root in text.split("\n") if root and not root.startswith(("import ", "#"))]
            elif match := _MAPPING.search(text):  # setuptools' finder (seen in 65 to 80)
                yield from (str(name).partition(".")[0] for name in ast.literal_eval(match.group(1)))
        for root in roots:
            with contextlib.suppress(OSError, ValueError), os.scandir(root) as entries:
                for entry in entries:
                    is_source = entry.name.endswith(".py")
                    top = entry.name.removesuffix(".py")
                    if top in tops and (entry.is_file() if is_source else entry.is_dir()):
                        yield top


class _Files(NamedTuple):
    """Facts that a list of installed files shows without a look at each of them.

    Attributes:
        tops: names of its files and folders at the top, without suffixes.
        of_paths: files by which Python's path is extended.
    """

    tops: frozenset[str]
    of_paths: list[str]

    @classmethod
    def of(cls, record: str) -> _Files:
        found = set(_SAME_TOP.findall(record))
        paths = [name for name in found if name.endswith((".pth", "_finder.py"))]
        return cls(frozenset(name.partition(".")[0] for name in found), paths)


def _module_names(record: str) -> list[str]:
    """Return the dotted names of all modules in a list of installed files; all at once, because there are thousands."""
    files = _with_suffix(record, ".py")
    for file in _with_suffix(record, ".so") + _with_suffix(record, ".pyd"):
        folder, slash, name = file.rpartition("/")
        files.append(folder + slash + name.partition(".")[0])  # `name.cpython-311-x86_64-linux-gnu`
    return "\n".join([*files, ""]).replace("/__init__\n", "\n").replace("/", ".").split("\n")


def _with_suffix(record: str, suffix: str) -> list[str]:
    """Return the files with a suffix, without it; an expression for whole lines takes five times as long."""
    return [before[before.rfind("\n") + 1 :] for before in record.split(f"{suffix},")[:-1]]


def _text(distribution: metadata.Distribution, *names: str) -> str:
    for name in names:
        try:
            text = _read(distribution, name)
        except (OSError, ValueError):  # unreadable, or not UTF-8
            continue
        if text:
            return text
    return ""


def _read(distribution: metadata.Distribution, name: str) -> str | None:
    folder = getattr(distribution, "_path", None)  # private of Python 3.10 to 3.14; its `read_text` takes twice as long
    if not isinstance(folder, Path):
        return distribution.read_text(name)
    with open(f"{folder}/{name}", "rb") as file:  # noqa: PTH123  (takes a quarter of the time)
        return file.read().decode()


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


def pip_url(remote: str) -> str:
    """Return a Git remote in a form that pip accepts: a folder, and Git's short form `git@host:path`, become a URL."""
    if Path(remote).is_absolute():
        return Path(remote).as_uri()
    match = re.fullmatch(r"([^/:@]+@)?([^/:@]+):(?!//)(.+)", remote)
    return f"ssh://{match[1] or ''}{match[2]}/{match[3].lstrip('/')}" if match else remote
