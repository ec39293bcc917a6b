"""List the distributions that a training process uses, so that pip can install them elsewhere.

Runs in the worker, on the training process's `sys.path`. A distribution is in use if the process has loaded one of its
modules; for a namespace that several share (`google.*`) the submodule decides.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from importlib import metadata

from autoinstrument.capture.distributions import Installed, Requirement, installed, key_of
from autoinstrument.named_tuple import NamedTuple

_THIS_PACKAGE = "autoinstrument"
_REST = "\n# Not imported by this code directly: dependencies of the packages above, and autoinstrument\n"


class Requirements(NamedTuple):
    """Two texts in pip's requirements format, one line per distribution, sorted by name."""

    requirements: str
    """Distributions in use and this package, each pinned, so that another machine gets the same ones.

    As with ClearML's SDK, the Python version comes first, then the packages that the user's code imports.
    """
    freeze: str
    """All distributions on the path, as `pip freeze` lists them."""
    conda: str = ""
    """Those of `requirements` that conda has installed, one per line.

    Agents of the type conda install these with conda, and the others with pip (clearml-agent 3.0.3, `conda_api.py`).
    """
    shared: frozenset[str] = frozenset()
    """First parts of module names that are, or may be, shared by several distributions (`google`)."""

    def may_change(self, known: Set[str], new: Iterable[str]) -> bool:
        """Return True if the newly loaded modules may belong to other packages than the `known` modules."""
        tops = {name.partition(".")[0] for name in known} | sys.stdlib_module_names
        return any(top not in tops or top in self.shared for top in {name.partition(".")[0] for name in new})


def packages_of(
    modules: Iterable[str],
    sys_path: Sequence[str],
    imported: Iterable[str] = (),
    python: str = "",
    *,
    frozen: bool = False,
    comments: Iterable[str] = (),
) -> Requirements:
    """Return the packages of a process.

    Args:
        modules: names of the modules that it has loaded.
        sys_path: its `sys.path`; the first one of two distributions with the same name counts, as for `import`.
        imported: names that the user's own code imports, see `capture.imports`.
        python: the version of Python, as in "3.11.7".
        frozen: another machine gets all packages, not those in use.
        comments: lines for a person, see `lock_files`.

    Distributions without a readable name or version are left out.
    """
    everything = _distributions(sys_path)
    used, first, shared = _in_use(tuple(everything.values()), frozenset(modules), tuple(imported))
    used |= _agent(everything)
    wanted = {key: item.requirement() for key, item in everything.items()}
    wanted.setdefault(_THIS_PACKAGE, _this_package())

    def listed(keys: Iterable[str]) -> str:
        return "".join(f"{wanted[key].text}\n" for key in sorted(keys))

    if frozen:
        first, used = frozenset(), frozenset({*everything, _THIS_PACKAGE})
    rest = used - first
    header = f"# Python {python}\n\n" if python else ""
    return Requirements(
        requirements=header
        + (f"{listed(first)}{_REST}{listed(rest)}" if first and rest else listed(used))
        + _commented(comments),
        freeze=listed(everything),
        conda="".join(
            f"{name}=={everything[key].version}\n"
            for key in sorted(used & everything.keys())
            if (name := everything[key].conda_name)
        ),
        shared=shared,
    )


def to_install(
    given: str | None,
    sys_path: Sequence[str],
    python: str,
    lacks: Callable[[str], object] = lambda _: None,
    *,
    comments: Iterable[str] = (),
) -> str:
    """Return the requirements of a program that has not run, for a Task that is queued.

    Args:
        given: requirements that a person wrote; this package is added, without which nothing would be mirrored. None
            for all packages that are installed here.
        sys_path: where these are.
        python: version of Python, as in "3.11.7".
        lacks: called with one line for each package that the agent will not find, and why.
        comments: lines for a person, see `lock_files`.
    """
    everything = {key: item.requirement() for key, item in _distributions(sys_path).items()}
    own = everything.setdefault(_THIS_PACKAGE, _this_package())
    listed = [own] if given is not None else [everything[key] for key in sorted(everything)]
    for requirement in listed:
        if requirement.is_missing:
            lacks(requirement.note)
    if given is None:
        text = f"# Python {python}\n\n" + "".join(f"{requirement.text}\n" for requirement in listed)
    else:
        text = "\n".join([given.rstrip("\n"), own.line, ""])
    return text + _commented(comments)


def _commented(lines: Iterable[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)


def _this_package() -> Requirement:
    """Return the requirement where it is on the path without being installed (sitecustomize, a checkout)."""
    from autoinstrument._version import __version__

    return Requirement(f"{_THIS_PACKAGE}=={__version__}")


def _distributions(sys_path: Iterable[str]) -> dict[str, Installed]:
    """Return the distributions on a path by key."""
    found = [item for entry in sys_path for item in _in_folder(entry or ".", _changed_ns(entry))]
    return {item.key: item for item in reversed(found)}


@functools.lru_cache(maxsize=32)
def _in_folder(entry: str, changed_ns: int) -> list[Installed]:
    """Return the distributions of one entry of a path, read again when it changes: each has a folder or file there.

    By entry, because the script's own folder, which is one of them, changes with each file that a script writes there.
    """
    return [item for each in metadata.distributions(path=[entry]) if (item := installed(each)) is not None]


@functools.lru_cache(maxsize=8)
def _in_use(
    everything: tuple[Installed, ...], loaded: frozenset[str], imported: tuple[str, ...]
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the keys of the distributions in use, those of them that hold `imported`, and `Requirements.shared`.

    The results are kept: the next script of a loop loads the same modules.
    """
    tops = {name.partition(".")[0] for name in loaded}
    names = {item.key: item.module_names(tops) for item in everything}
    used, shared = _used(names, loaded)
    first = _holders({key: names[key] for key in used}, imported)
    return frozenset(used), frozenset(first), shared


def _changed_ns(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116  (a path may be anything)
    except (OSError, ValueError):
        return 0


def _used(names: Mapping[str, set[str]], loaded: Set[str]) -> tuple[set[str], frozenset[str]]:
    """Return the keys of the distributions in use, and `Requirements.shared`; `names` are the modules of each."""
    claims = Counter(name for own in names.values() for name in own)
    used = set()
    for key, own in names.items():
        matching = own & loaded
        # A package whose __init__ several distributions ship is a namespace of the old kind: it does not prove that
        # this one is in use while its other modules are not loaded. If they share everything (opencv-python and its
        # headless variant), all are listed.
        own_alone = {name for name in own if claims[name] == 1}
        if matching and (matching & own_alone or not own_alone or any(not _is_package(n, own) for n in matching)):
            used.add(key)
    holders = Counter(top for own in names.values() for top in {name.partition(".")[0] for name in own})
    return used, frozenset(top for top, number in holders.items() if number > 1 or not claims[top])


def _holders(names: Mapping[str, set[str]], imported: Iterable[str]) -> Iterator[str]:
    """Yield the keys of the distributions that hold the imported modules.

    If several share a module, only the one of that name counts: `import mlflow` does not mean mlflow-skinny.
    """
    holders: dict[str, set[str]] = {}
    for key, own in names.items():
        for name in own:
            holders.setdefault(name, set()).add(key)
    for name in imported:
        module = name
        while module and module not in holders:  # the last part may be a function, or a module of an editable package
            module = module.rpartition(".")[0]
        keys, alone = holders.get(module, set()), key_of(name.partition(".")[0])
        yield from {alone} if alone in keys else keys


def _is_package(name: str, names: set[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in names)


def _agent(everything: dict[str, Installed]) -> set[str]:
    """Return the keys of this package and of its requirements, which no training script imports."""
    own = everything.get(_THIS_PACKAGE)
    return {_THIS_PACKAGE, *(key for key in (own.needs if own else ["clearml"]) if key in everything)}
