"""Read from the interpreter's command line which program it runs, and know the programs that the agent stays out of.

Every interpreter whose switch is on loads this file at its start: it imports only what is loaded by then.
"""

import os

_OTHER_PROGRAMS = {
    "pip", "easy_install", "ensurepip", "venv", "virtualenv", "build", "pyproject-build", "pyproject_hooks", "hatch",
    "hatchling", "uv", "pipx", "poetry", "pdm", "conda", "mamba", "clearml-agent", "clearml_agent", "autoinstrument",
}  # fmt: skip
"""Programs that the agent stays out of: installers, build back ends, ClearML's agent, this package's own commands."""

_PROJECT = "autoinstrument.project_backend"
"""The module that runs an MLflow project under a ClearML agent: the project's run is mirrored."""

_OPTIONS_WITH_VALUE = "cmWX"  # what `python --help` lists; of the long ones, only the one below has a value
_LONG_OPTION_WITH_VALUE = "--check-hash-based-pycs"


def is_other_program(command: "list[str]") -> bool:
    """Return True if the interpreter runs a program that the agent stays out of.

    These are modules run with `-m`, and scripts where installers put them. A file `build.py` or `hatch.py` elsewhere
    may be a training script, and so may code from `-c` or standard input.

    Args:
        command: the interpreter's command line, `sys.orig_argv`.
    """
    option, value = what_runs(command[1:])
    if option == "m":
        return value.partition(".")[0] in _OTHER_PROGRAMS and value != _PROJECT
    return option == "" and _is_other_script(value)


def what_runs(arguments: "list[str]") -> "tuple[str, str]":
    """Return what an interpreter runs with these arguments.

    Returns:
        ("c", code), ("m", module), ("", path of a script), or ("-", "") for standard input or no program at all.
    """
    rest = iter(arguments)
    for argument in rest:
        if argument == "-":
            break
        if argument == _LONG_OPTION_WITH_VALUE:
            next(rest, "")
        elif argument == "--":
            return "", next(rest, "")
        elif not argument.startswith("-"):
            return "", argument
        elif not argument.startswith("--"):
            # Letters may be joined, as in `-Im pip`, and the value to its letter, as in `-mpip`.
            for position, letter in enumerate(argument[1:], 2):
                if letter in _OPTIONS_WITH_VALUE:
                    value = argument[position:] or next(rest, "")
                    if letter in "cm":
                        return letter, value
                    break
    return "-", ""


def _is_other_script(path: str) -> bool:
    folder, name = os.path.split(path)
    parent = os.path.basename(folder)  # noqa: PTH119  (pathlib is not loaded, and takes 5 ms)
    if parent in ("bin", "Scripts"):
        program = name[:-4] if name.endswith(".exe") else name
        return program.rstrip("-.0123456789") in _OTHER_PROGRAMS  # pip3.12, easy_install-3.8
    # pip runs itself again to fill a build environment, and pip and build run the back end, by these files.
    return (parent, name) in (("pip", "__pip-runner__.py"), ("_in_process", "_in_process.py"))
