"""`python docs/settings_page.py`: write docs/settings.md from the table in autoinstrument/settings.py.

A test compares the page with the output of this script.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("settings.md")
sys.path.insert(0, str(PAGE.parent.parent))  # this checkout's package, whichever is installed

from autoinstrument.settings import SWITCH, TABLE, Setting  # noqa: E402  (the checkout is on the path only now)
from autoinstrument.switch import ON  # noqa: E402

_BEGINNING = """\
# Settings

<!-- Written by docs/settings_page.py from autoinstrument/settings.py: change it there. -->

Environment variables of the training process. They count as they are when its first run begins, so a script may also
read them from a file `.env`; only the switch must be set before Python starts. An unset or empty variable has its
default. A value that is not allowed is reported in one line on stderr, with the allowed values; the agent then stays
off, and training goes on. ClearML's own configuration (`clearml.conf`, `CLEARML_*`) and MLflow's (`MLFLOW_*`) are read,
and never overridden; [ClearML's own settings](clearml-settings.md) lists what counts.

| variable | meaning | allowed | default |
| --- | --- | --- | --- |
"""
_END = """
With `AUTOINSTRUMENT_WORKER=thread`, data that is unsent when the process ends or is killed is left to
`autoinstrument sync`. In the templates, `{experiment}`, `{run_name}` and `{run_id}` are those of the MLflow run,
`{user}` is the user who trains, and `{script}` the name of the script.

{kept} are kept with each run and its Task: `sync` and
`verify`, which may run later, elsewhere and with other settings, use those with which the Task was made.
"""


def page() -> str:
    """Return the text of the page."""
    switch = _row(SWITCH, ", ".join(f"`{word}`" for word in ON) + ", in upper or lower case")
    rows = [_row(setting, setting.values.allowed or "any") for setting in TABLE]
    kept = [setting.variable.removeprefix("AUTOINSTRUMENT") for setting in TABLE if setting.scope == "task"]
    names = ", ".join(f"`{name}`" for name in kept[:-1]) + f" and `{kept[-1]}`"
    return _BEGINNING + switch + "".join(rows) + _END.replace("{kept}", names.replace("`_", "`AUTOINSTRUMENT_", 1))


def _row(setting: Setting[Any], allowed: str) -> str:
    default = setting.text(setting.default)
    cells = [
        f"`{setting.variable}`",
        setting.meaning.removesuffix("."),
        allowed.replace("{", "`{").replace("}", "}`"),
        f"`{default}`" if default else "",
    ]
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
