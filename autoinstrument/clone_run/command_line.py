"""Write the command line that gives a program the values of a Task's parameters.

The program's own parser then reads it as it reads one that a person typed, with its types, choices and errors. Words
of arguments that were not changed stay as they were.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from autoinstrument.records import Argument, CommandLine
from autoinstrument.scrubber import MASK
from autoinstrument.switch import is_on

OBJECT = "command line"
"""Name of the Task's configuration object that holds a `CommandLine` as JSON."""
CONFIGURATION = "OmegaConf"
"""ClearML's name (1.16 to 2.1.12) for the configuration object that holds the configuration of a Hydra job."""
ALLOW_EDIT = "_allow_omegaconf_edit_"
"""ClearML's name for the parameter of the section `Hydra` that makes this object count instead of the overrides."""
_MANY = -1

Group = list[str]
"""The name of an argument, and the words that give it."""


def line_of(text: str) -> CommandLine | None:
    """Return the command line that an object's text holds, None if the text holds none."""
    from autoinstrument.json_shape import mismatch
    from autoinstrument.records import parse

    try:
        found = parse(text)
    except ValueError:
        return None
    line: CommandLine | None = None if mismatch(found, CommandLine) else found
    return line if line and all(line["words"] or ()) else None


def overrides(section: Mapping[str, str]) -> list[str]:
    """Return Hydra's overrides in the section `Hydra`, as a person types them; `~name` may have no value."""
    return [
        name if name.startswith("~") and not value else f"{name}={value}"
        for name, value in section.items()
        if value != MASK and name != ALLOW_EDIT
    ]


def with_overrides(line: CommandLine, values: Mapping[str, str], section: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the section `Args` with that of Hydra's overrides, if they were changed."""
    (before,) = [item["value"] for item in line["arguments"] if item["name"] == "overrides"] or [""]
    if not before or "overrides" in values:  # not Hydra's
        return dict(values)
    wanted = overrides(section)
    kept = [override for override in _items(before) if override.partition("=")[2] != MASK]
    return {**values, **({} if wanted == kept else {"overrides": str(wanted)})}


def rewritten(line: CommandLine, values: Mapping[str, str]) -> list[str]:
    """Return a command line with changed values.

    Args:
        line: as the parser read it.
        values: text by the arguments' names. Hidden values are left out. A name that the parser did not have is written
            as an option of that name if the line has words: another sub-command may have it.
    """
    known = {argument["name"]: argument for argument in line["arguments"]}
    changed = {
        name: text
        for name, text in values.items()
        if text != MASK and (name not in known or text != known[name]["value"])
    }
    groups = [list(group) for group in line["words"] or () if not (group[0] and _is_masked(group))]
    if line["words"] is None:
        read = {name: item["value"] for name, item in known.items() if item["value"] not in (MASK, item["default"])}
        changed = {name: text for name, text in {**read, **changed}.items() if _differs(known.get(name), text)}
    commands = [argument for argument in line["arguments"] if argument["form"] == "command"]
    for command in sorted(commands, key=lambda argument: argument["level"]):
        if command["name"] in changed:
            chosen = changed.pop(command["name"])
            groups = _with_command(groups, known, command, chosen)
            if chosen != command["value"]:  # the arguments of the other command have no meaning for this one
                changed = {
                    name: text
                    for name, text in changed.items()
                    if name not in known or known[name]["level"] <= command["level"]
                }
    order = list(known)
    for name in sorted(changed, key=lambda name: order.index(name) if name in known else len(order)):
        groups = _edited(groups, known, name, changed[name])
    return [word for group in groups for word in group[1:]]


def _differs(argument: Argument | None, text: str) -> bool:
    return argument is not None and text != argument["default"]


def _is_masked(group: Group) -> bool:
    return any(MASK in word for word in group[1:])


def _with_command(groups: list[Group], known: Mapping[str, Argument], command: Argument, text: str) -> list[Group]:
    """Return the groups with another sub-command, and without the arguments of the one before."""
    _, end = _level(groups, known, command["level"])
    return [*groups[:end], [command["name"], text]] if text else groups[:end]


def _level(groups: list[Group], known: Mapping[str, Argument], level: int) -> tuple[int, int]:
    """Return the positions at which the groups of a level begin and end."""
    commands = [at for at, group in enumerate(groups) if group[0] in known and known[group[0]]["form"] == "command"]
    start = 0 if level == 0 else commands[level - 1] + 1 if level <= len(commands) else len(groups)
    return start, commands[level] if level < len(commands) else len(groups)


def _edited(groups: list[Group], known: Mapping[str, Argument], name: str, text: str) -> list[Group]:
    argument = known.get(name)
    if argument is None:
        return [*groups, [name, f"--{name}={text}"]]
    places = [at for at, group in enumerate(groups) if group[0] == name]
    before = groups[places[0]] if places else []
    new = [[name, *words] for words in written(argument, text, before)]
    kept = [group for group in groups if group[0] != name]
    at = places[0] if places else _place(kept, known, argument)
    return [*kept[:at], *new, *_list_end(argument, kept, at, known), *kept[at:]]


def _list_end(argument: Argument, groups: list[Group], at: int, known: Mapping[str, Argument]) -> list[Group]:
    """Return an option with the value that it has, where a list would take the words that follow as its own."""
    is_open = "" not in argument["options"] and _MANY in argument["options"].values()
    if not is_open or at == len(groups) or groups[at][1].startswith("-"):
        return []
    given = {group[0] for group in groups}
    for name, other in known.items():
        usable = other["level"] == argument["level"] and other["form"] == "value" and not other["flags"]
        if usable and name not in given and other["value"] not in ("", MASK) and _option(other).startswith("--"):
            return [[name, f"{_option(other)}={other['value']}"]]
    return []


def _place(groups: list[Group], known: Mapping[str, Argument], argument: Argument) -> int:
    """Return where an argument that was not there goes.

    Later options take precedence over earlier ones and over files of arguments, and a list ends with the next option.
    """
    start, end = _level(groups, known, argument["level"])
    options = [at for at in range(start, end) if groups[at][0] in known and groups[at][1].startswith("-")]
    if "" in argument["options"]:
        names = [name for name, one in known.items() if "" in one["options"] and one["level"] == argument["level"]]
        before = names[: names.index(argument["name"])]
        return max((at + 1 for at in range(start, end) if groups[at][0] in before), default=start)
    if argument["form"] == "list" and _MANY in argument["options"].values():
        return options[0] if options else end
    return options[-1] + 1 if options else start


def written(argument: Argument, text: str, before: Group) -> list[list[str]]:
    """Return the words of each occurrence of an argument that gives it a value, [] if it must not be there.

    Args:
        argument: as it was read.
        text: the value.
        before: the words that gave it, with its name before them; their form is kept.
    """
    form, option = argument["form"], _option(argument)
    if not argument["options"]:  # the program has set it
        return []
    if argument["flags"]:
        word = argument["flags"].get(str(is_on(text)) if argument["flags"].keys() <= {"True", "False"} else text)
        return [[word]] if word else []
    if form == "count":
        number = int(text) if text.isdigit() else 0
        return [[option]] * (number - int(argument["default"] or 0)) if option else []
    if form == "repeated":
        given, first = _items(text), _items(argument["default"])
        added = given[len(first) :] if given[: len(first)] == first else given
        many = argument["options"].get(option, 1) != 1
        return [[option, *_items(item)] if many else _single(option, item, []) for item in added]
    if form == "list":
        items = _items(text)
        return ([[option, *items]] if option else [[item] for item in items]) if items else []
    if not text and (not argument["default"] or argument["type"] in ("int", "float")):
        return []
    return [_single(option, text, before)]


def _option(argument: Argument) -> str:
    names = [name for name, words in argument["options"].items() if name and (words or argument["form"] == "count")]
    return next((name for name in names if name.startswith("--")), (*names, "")[0])


def _single(option: str, text: str, before: Group) -> list[str]:
    first = before[1] if len(before) > 1 else ""
    if not option:
        return [text]
    if first.startswith("-") and len(before) == 3 and not text.startswith("-"):
        return [first, text]
    if first.startswith("--") and "=" in first:
        option = first.partition("=")[0]
    if option.startswith("--"):
        return [f"{option}={text}"]
    if not text.startswith("-"):
        return [option, text]
    return [f"{option}{'=' if len(option) > 2 else ''}{text}"]


def _items(text: str) -> list[str]:
    """Return the items of a list as `str` writes it, or as a person may type it: separated by commas or blanks."""
    try:
        value = ast.literal_eval(text.strip() or "[]")
    except (ValueError, SyntaxError):
        return text.strip().strip("[]()").replace(",", " ").split()
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
