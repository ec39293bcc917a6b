"""Check whether this interpreter is part of a training that another process has begun: a child, or another rank.

Every interpreter whose switch is on loads this file at its start: it imports only what is loaded by then.
"""

import os
import sys

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = "autoinstrument-{}-marks"
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")
"""Variables with a process's rank: of torchrun, Accelerate, Lightning and DeepSpeed; Open MPI; MPICH and Intel MPI;
PMIx; SLURM. The first one counts."""
_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS")


def is_likely() -> bool:
    """Return True if this process is a rank or a worker of multiprocessing, or if a process of this user has a run."""
    is_worker = "--multiprocessing-fork" in sys.orig_argv  # its parent may begin a run later
    return is_worker or bool(rank(os.environ)) or any(map(os.path.isdir, mark_folders(os.environ)))


def rank(environ: "Mapping[str, str]") -> str:
    """Return this process's rank in a distributed training, "" for none or if it has only one process."""
    if next((environ[name] for name in _SIZES if name in environ), "") == "1":
        return ""
    return next((environ[name] for name in _RANKS if environ.get(name, "").isdecimal()), "")


def mark_folders(environ: "Mapping[str, str]") -> "list[str]":
    """Return the folders, the best first, in which processes that have begun a run leave marks."""
    if sys.platform == "win32":
        return []
    name = _NAME.format(os.getuid())
    runtime = [*(environ.get(variable, "") for variable in ("XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP")), "/tmp"]  # noqa: S108
    return [f"{folder}/{name}" for folder in dict.fromkeys(runtime) if folder.startswith("/")]
