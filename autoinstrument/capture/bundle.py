"""Make one script of all the user's own files that a program consists of, for code that no repository holds.

Without a repository, clearml-agent 3.0.3 writes a Task's diff to the entry point's file and runs that; it applies no
patch. So the diff is a script that holds the texts of the files, writes them to a folder, and runs the program there.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from autoinstrument.capture import archives
from autoinstrument.capture.code import Code, is_source, module_root, read
from autoinstrument.capture.patch import LIMIT_BYTES
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import ProcessStarted

_MOST_FILES = 200
_HEAD = """\
# {count} files that no Git repository holds, {order}.
# A ClearML agent runs this script, which writes them to the folder `{folder}` beside itself and runs `{program}` there.
FILES = {{}}
"""
_FOOT = """
import os, runpy, sys

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), {folder!r})
for name, text in FILES.items():
    path = os.path.join(folder, *name.split("/"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
os.chdir(folder)
sys.path[:0] = [os.path.normpath(os.path.join(folder, root)) for root in {roots!r}]
"""
_FOLDER = "files"


def bundle(code: Code, process: ProcessStarted, beside: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the script, "" if the program's own file is the only one of the user's.

    The files that began the run come first. Files beyond 500 kB or 200 files are left out, and the script names them.

    Args:
        code: the program.
        process: the process that runs it; its `files` and `callers` are the other files.
        beside: texts of more files, by their paths relative to the process's working directory.
    """
    layout, module, main = _Layout(code, process), "" if code.text else code.module, ""
    callers = {layout.place(file): read(file) for file in layout.own(process.callers)}
    loaded = {layout.place(file): read(file) for file in layout.own(process.files.values())}
    program = {}
    if code.text:
        main = code.name
        while main in callers or main in loaded:  # a notebook may have the name of a module
            main = f"run_{main}"
        program[main] = code.text
    elif code.file is not None:
        # Beside the modules of its archive: a file cannot have the name of the folder that they are in.
        main = layout.place(code.file / "__main__.py" if archives.is_archive(code.file) else code.file)
        program[main] = read(code.file)
    texts = {**callers, **program, **loaded, **beside}
    kept, left_out = _fitting(texts, main)
    if not kept.keys() - {main} or (main and main not in kept):
        return ""
    order = "the one that began the MLflow run first" if callers else "the program first"
    parts = [_HEAD.format(count=len(kept), order=order, folder=_FOLDER, program=module or main)]
    parts += [f"\nFILES[{name!r}] = {_literal(text)}\n" for name, text in kept.items()]
    if left_out:
        parts.append("\n# Left out, because ClearML keeps 500 kB of code:\n")
        parts += [f"# {name} ({len(texts[name].encode()) // 1000} kB)\n" for name in left_out[:_MOST_FILES]]
    parts.append(_FOOT.format(folder=_FOLDER, roots=layout.roots()))
    if module:
        parts.append(f'runpy.run_module({module!r}, run_name="__main__", alter_sys=True)\n')
    else:
        parts.append(f"sys.argv[0] = os.path.join(folder, {main!r})\n")
        parts.append('runpy.run_path(sys.argv[0], run_name="__main__")\n')
    return "".join(parts)


class Unpacked(NamedTuple):
    """The content of a script of several files.

    Attributes:
        files: texts by path relative to the folder that the program runs in.
        roots: entries that `sys.path` needs, relative to that folder.
        module: dotted name of the program, "" for a file.
        main: the program's file, "" for a module.
    """

    files: dict[str, str]
    roots: list[str]
    module: str
    main: str


def unpacked(script: str) -> Unpacked | None:
    """Return what a script that `bundle` made holds, None for any other text; nothing of it is run."""
    if "\nFILES = {}\n" not in script:
        return None
    try:
        tree = ast.parse(script)
        files = {name: text for line in tree.body for name, text in _file(line)}
        (roots,) = [
            ast.literal_eval(node.generators[0].iter) for node in ast.walk(tree) if isinstance(node, ast.ListComp)
        ]
        start, last = tree.body[-2:]
        if ast.unparse(last).startswith("runpy.run_module("):
            return Unpacked(files, list(roots), str(ast.literal_eval(last.value.args[0])), "")  # type: ignore[attr-defined]
        return Unpacked(files, list(roots), "", str(ast.literal_eval(start.value.args[1])))  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, TypeError, AttributeError, IndexError, RecursionError, MemoryError):
        return None  # a person has changed it


def _file(line: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield name and text, if a line of the script is `FILES[name] = text[1:]`."""
    if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]).startswith("FILES["):
        target, value = line.targets[0], line.value
        if isinstance(target, ast.Subscript) and isinstance(value, ast.Subscript):
            yield str(ast.literal_eval(target.slice)), str(ast.literal_eval(value.value))[1:]


class _Layout:
    """Decides where each file is put in the folder: as below the working directory, so that relative paths stay valid.

    Files from elsewhere are put into a folder with the name of the `sys.path` entry from which they were imported.
    """

    def __init__(self, code: Code, process: ProcessStarted) -> None:
        self._cwd = Path(os.path.realpath(process.cwd or "/"))
        self._search = [Path(os.path.realpath(self._cwd / entry)) for entry in process.sys_path]
        self._root: dict[Path, Path] = {}
        """Folders on `sys.path`, by the files that were imported from there."""
        for module, name in [*process.files.items(), (code.module, str(code.file or ""))]:
            file = Path(os.path.realpath(name))
            if name and file not in self._root:
                self._root[file] = module_root(file, module) or file.parent
        self._elsewhere: dict[Path, str] = {}
        self._installed: dict[Path, bool] = {}

    def place(self, file: Path) -> str:
        """Return a file's path below the folder."""
        return f"{self._inside(self._root.get(file, file.parent))}/{self._below_root(file)}".removeprefix("./")

    def roots(self) -> list[str]:
        """Return the entries that `sys.path` needs, relative to the folder, in their order on `sys.path`."""
        order = {root: number for number, root in reversed(list(enumerate(self._search)))}
        own = {root for file, root in self._root.items() if not self._is_installed(file)}
        found = sorted(own, key=lambda root: (order.get(root, len(order)), root))
        return [self._inside(root) for root in found]

    def own(self, names: Iterable[str]) -> Iterator[Path]:
        """Yield the Python files that exist and were not installed (`pip install --target`)."""
        for file in (Path(os.path.realpath(name)) for name in names):
            if is_source(file) and not self._is_installed(file):
                yield file

    def _is_installed(self, file: Path) -> bool:
        root = self._root.get(file, file.parent)
        if root not in self._installed:
            in_folder = next(root.glob("*.dist-info"), None) is not None
            self._installed[root] = in_folder or (archives.is_archive(root) and archives.has_installed(root))
        return self._installed[root]

    def _below_root(self, file: Path) -> str:
        return file.relative_to(self._root.get(file, file.parent)).as_posix()

    def _inside(self, root: Path) -> str:
        if root.is_relative_to(self._cwd):
            return root.relative_to(self._cwd).as_posix()
        if root not in self._elsewhere:
            name, number = root.name or "root", 1
            while (self._cwd / name).exists() or name in self._elsewhere.values():
                number += 1
                name = f"{root.name}_{number}"
            self._elsewhere[root] = name
        return self._elsewhere[root]


def _fitting(texts: Mapping[str, str], main: str) -> tuple[dict[str, str], list[str]]:
    """Return the texts that a Task can hold, in their order, and the names of the others; the program has priority."""
    room = LIMIT_BYTES - len(_HEAD) - len(_FOOT) - 10_000
    kept: set[str] = set()
    for name in sorted(texts, key=lambda name: name != main):
        size = len(_literal(texts[name]).encode()) + len(name) + 100
        if size <= room and len(kept) < _MOST_FILES:
            kept.add(name)
            room -= size
        else:
            room -= len(name) + 20
    return {name: text for name, text in texts.items() if name in kept}, [name for name in texts if name not in kept]


def _literal(text: str) -> str:
    """Return the text as a Python literal of several lines, without escapes if possible."""
    for quotes in ("'''", '"""'):
        if quotes not in text and not text.endswith((quotes[0], "\\")) and "\0" not in text:
            return f"r{quotes}\n{text}{quotes}[1:]"
    text = text.replace("\\", "\\\\").replace("'''", r"\'\'\'").replace("\0", r"\x00")
    return f"'''\n{text[:-1]}\\''''[1:]" if text.endswith("'") else f"'''\n{text}'''[1:]"
