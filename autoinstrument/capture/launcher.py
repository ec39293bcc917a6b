"""Find the launcher (torchrun, accelerate) that started the training process: a clone must be started by it, too.

It is recognised by its command line, which can be read on Linux.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

_COMMANDS = {
    ("torchrun",): "torch.distributed.run",
    ("accelerate", "launch"): "accelerate.commands.launch",
}
_MODULES = ("torch.distributed.", "accelerate.commands.")


def launched(pid: int, program: str, module: str) -> str:
    """Return the entry point up to the program, as in "-m torch.distributed.run --nproc_per_node=2"; "" for none.

    Args:
        pid: the training process.
        program: path of its script, or of its module's file.
        module: dotted name, if it was started with `-m`.
    """
    command = _command(_parent(pid))
    for position, part in enumerate(command):
        options = command[position + 1 :]
        if part.startswith(_MODULES):
            return _entry(part, options, program, module)
        for words, launcher in _COMMANDS.items():
            if (os.path.basename(part), *options[: len(words) - 1]) == words:  # noqa: PTH119
                return _entry(launcher, options[len(words) - 1 :], program, module)
    return ""


def _entry(launcher: str, options: list[str], program: str, module: str) -> str:
    for position, option in enumerate(options):
        if option == module or (not module and Path(option).name == Path(program).name):
            return " ".join(["-m", launcher, *map(shlex.quote, options[:position])])
    return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _command(pid: int) -> list[str]:
    try:
        return [os.fsdecode(part) for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []
