"""`python docs/settings_page.py`: write docs/settings.md, made of what autoinstrument/settings.py says of each setting.

A test compares the page with what this script would write.
"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

PAGE = Path(__file__).with_name("settings.md")
ROOT = PAGE.parent.parent
_SOURCE = ROOT / "autoinstrument" / "settings.py"
_code = runpy.run_path(str(_SOURCE))  # this checkout's, whichever is installed
Settings, SettingsError, read_settings = (_code[name] for name in ("Settings", "SettingsError", "read_settings"))

_BEGINNING = """\
# Settings

<!-- Written by docs/settings_page.py from autoinstrument/settings.py: change it there. -->

Environment variables of the training process. An unset or empty one has its default. A value that is not allowed is
named in one line on stderr, with what is allowed; the agent then stays off, and training goes on. ClearML's own
configuration (`clearml.conf`, `CLEARML_*`) and MLflow's (`MLFLOW_*`) are read, and never overridden.

| variable | meaning | allowed | default |
| --- | --- | --- | --- |
| `AUTOINSTRUMENT_ENABLED` | The switch; anything else is off. Under a ClearML agent it is on by itself for \
[Tasks of this project](orchestration.md) | `1`, `true`, `yes`, `on`, in upper or lower case | off |
"""
_END = """
With `AUTOINSTRUMENT_WORKER=thread`, what is unsent when the process ends or is killed is left to `autoinstrument sync`.
The fields of the templates: `{experiment}`, `{run_name}` and `{run_id}` are MLflow's, `{user}` is the user who trains,
`{script}` the name of the script.

`AUTOINSTRUMENT_PROJECT`, `_TASK`, `_ARTIFACTS` and `_MLFLOW_UI` are kept with each run and its Task: `sync` and
`verify`, which may run later, elsewhere and with other settings, go by those with which the Task was made.
"""
_NOT_ALLOWED = "{}"
"""What no setting with a rule takes: a field without a name, no choice, no number, no address."""


def page() -> str:
    """Return the page as the code would have it."""
    rows = []
    for field, meaning in _meanings().items():
        name = field.removesuffix("_s").upper()
        default = getattr(Settings(), field)
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        meaning = meaning.removesuffix(".")
        cells = [f"`AUTOINSTRUMENT_{name}`", meaning, _allowed(name), f"`{shown}`" if shown else ""]
        rows.append("| " + " | ".join(cells) + " |\n")
    return _BEGINNING + "".join(rows) + _END


def _meanings() -> dict[str, str]:
    """Return what the code says below each field of `Settings`, by the field's name."""
    tree = ast.parse(_SOURCE.read_text("utf-8"))
    (settings,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    meanings = dict.fromkeys(Settings._fields, "")
    for before, after in zip(settings.body, settings.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            meanings[before.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    missing = [field for field, meaning in meanings.items() if not meaning]
    if missing:
        raise SystemExit(f"settings.py says nothing about {', '.join(missing)}: a docstring below the field is missing")
    return meanings


def _allowed(name: str) -> str:
    """Return what the code itself says when it refuses a value."""
    try:
        read_settings({f"AUTOINSTRUMENT_{name}": _NOT_ALLOWED})
    except SettingsError as error:
        return str(error).partition(" is not allowed: ")[2].replace("{", "`{").replace("}", "}`")
    return "any"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
