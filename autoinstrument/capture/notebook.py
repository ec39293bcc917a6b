"""Read the cells that an IPython shell has run, and turn them into a script.

The first half runs in the training process, `as_script` in the worker.
"""

# os.path: pathlib would be one more module in the user's process.
# ruff: noqa: PTH117
from __future__ import annotations

import os
import re
import sys
from typing import Any

_MARK = "# %%"
# The body of these cell magics is Python in the same namespace; that of others (%%bash, %%writefile) is not.
_PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun")
_TIMED = re.compile(r"^(\s*)%time\s+(.+)")
_SHELL = re.compile(r"^(\s*)([%!?].*|[\w., ]+=\s*[%!].*|.*\?\s*)$")


def shell() -> Any:
    """Return the running IPython shell, None if there is none; IPython is not imported for it."""
    try:
        ipython: Any = sys.modules.get("IPython")
        return None if ipython is None else ipython.get_ipython()
    except Exception:  # partly imported, or another module of that name
        return None


def is_kernel(shell: Any) -> bool:
    """Return True if the shell belongs to a notebook's kernel and not to a terminal."""
    return getattr(shell, "kernel", None) is not None


def path(shell: Any) -> str:
    """Return the absolute path of the notebook's file, "" if the front end does not provide it."""
    try:
        given = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    except Exception:
        return ""
    return given if isinstance(given, str) and given.endswith(".ipynb") and os.path.isabs(given) else ""


def source(shell: Any) -> str:
    """Return the cells run so far and the running one, each below a line `# %%`."""
    try:
        history = shell.history_manager
        cells = list(history.input_hist_raw)
        # A cell that raised would raise in the script as well, and its corrected version follows later. IPython records
        # them since 9.0.
        failed = getattr(history, "exceptions", None) or {}
    except Exception:
        cells, failed = list(getattr(shell, "user_ns", {}).get("In", [])), {}
    return "".join(
        f"{_MARK}\n{cell.strip()}\n\n"
        for number, cell in enumerate(cells)
        if isinstance(cell, str) and cell.strip() and number not in failed
    )


def source_of_file(text: str) -> str:
    """Return the code cells of a notebook's file, in the form of `source`.

    Raises:
        ValueError: it is not a notebook (nbformat 4, and 3, which has worksheets).
    """
    import json

    found = json.loads(text)
    sheets = found.get("worksheets", [found]) if isinstance(found, dict) else []
    cells = [cell for sheet in sheets for cell in sheet.get("cells", ())]
    if not any("cells" in sheet for sheet in sheets):
        raise ValueError("it has no cells")
    code = (cell.get("source", cell.get("input", "")) for cell in cells if cell.get("cell_type") == "code")
    texts = ("".join(each) if isinstance(each, list) else str(each) for each in code)
    return "".join(f"{_MARK}\n{text.strip()}\n\n" for text in texts if text.strip())


def as_script(source: str) -> str:
    """Return the cells as Python that runs without IPython: magics and shell commands become comments."""
    cells = re.split(rf"^{_MARK}\n", source, flags=re.M)
    return _MARK.join(["", *(f"\n{_as_python(cell)}" for cell in cells if cell.strip())])


def _as_python(cell: str) -> str:
    lines = cell.split("\n")
    if lines[0].startswith("%%") and not lines[0].startswith(_PYTHON_CELLS):
        return "\n".join(f"# {line}" if line.strip() else line for line in lines)
    # If the cell is valid Python, a line that begins with % is part of a string or an expression.
    try:
        compile(cell, "cell", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        lines = [_SHELL.sub(_comment, _TIMED.sub(r"\1\2", line)) for line in lines]
    return "\n".join(lines)


def _comment(line: re.Match[str]) -> str:
    indent, rest = line.groups()
    return f"{indent}pass  # {rest}" if indent else f"# {rest}"  # the line may be the only one of an indented block
