"""The probe inside a checked command: report, at its end, everything that a script can see of its process.

It runs with and without the agent alike, and changes nothing that it looks at. It uses only the standard library, and
as little of it as possible: a module that the script has not loaded must stay so.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

REPORT = "AUTOINSTRUMENT_CHECK_REPORT"
"""Variable that names the file for the report; the first Python process that can create it writes it."""

TRACKING_URI = "tracking URI"
"""The only entry that is not compared: the store of the script's MLflow runs, if the script has loaded MLflow."""

_PASSING_THREADS = ("autoinstrument-", "MLflowTelemetry", "GetTelemetryConfig")
"""Beginnings of the names of threads that come and go: the agent's, and those of MLflow's telemetry (3.5 to 3.17)."""
_CHILD_S = 2.0
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def begin(folder: str) -> None:
    """Arrange for the report at the process's end; remove `folder`, which started the probe, from Python's path."""
    report = os.environ.pop(REPORT, "")
    kept = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry != folder]
    if any(kept):
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    if not report:
        return
    try:
        os.close(os.open(report, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:  # another process of the command came first
        return
    _Probe(report)


class _Probe:
    def __init__(self, report: str) -> None:
        self._report, self._pid = report, os.getpid()
        self._facts: dict[str, str] = {}
        atexit.register(self._last)  # the first to be registered is the last to run
        import threading

        # The end of the script, before any at-exit handler runs; private, seen in Python 3.10 to 3.13.
        register = getattr(threading, "_register_atexit", None)
        if register is not None:
            register(self._end_of_script)

    def _end_of_script(self) -> None:
        self._look("at the script's end")

    def _last(self) -> None:
        self._look("after all exit handlers")

    def _look(self, when: str) -> None:
        if os.getpid() == self._pid:
            self._facts |= {f"{name}, {when}": value for name, value in state().items()}
            if "mlflow" in sys.modules:
                with contextlib.suppress(Exception):  # an import that failed half-way leaves a module of any kind
                    self._facts[TRACKING_URI] = str(sys.modules["mlflow"].get_tracking_uri())
            Path(self._report).write_text(json.dumps(self._facts))


def state() -> dict[str, str]:
    """Return facts about this process by name; values are texts that can be compared between processes."""
    facts: dict[str, str] = {}
    for name, look in LOOKS.items():
        try:
            facts |= {f"{name} {part}".rstrip(): _text(value) for part, value in look().items()}
        except Exception as error:  # a library in an odd state: the same in each run, or worth reporting
            facts[name] = f"cannot be read: {type(error).__name__}"
    return facts


def _text(value: Any) -> str:
    if callable(value):
        where = getattr(value, "__module__", "") or ""
        value = f"{type(value).__name__} {where}.{getattr(value, '__qualname__', '')}"
    text = _ADDRESS.sub("0x", value if isinstance(value, str) else repr(value))
    return text if len(text) < 500 else _digest(text.encode())


def _digest(content: bytes) -> str:
    from hashlib import sha256

    return f"sha256 {sha256(content).hexdigest()}"


def _random_streams() -> dict[str, Any]:
    found = {}
    modules = sys.modules
    if "random" in modules:
        found["random"] = modules["random"].getstate()
    if "numpy.random" in modules:
        kind, keys, *rest = modules["numpy.random"].get_state()
        found["numpy.random"] = (kind, _digest(keys.tobytes()), *rest)
    if "torch" in modules:
        found["torch"] = _digest(modules["torch"].get_rng_state().numpy().tobytes())
    for name, value in list(vars(modules["__main__"]).items()):
        kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
        if kind == "random.Random":
            found[name] = value.getstate()
        elif kind == "numpy.Generator":
            found[name] = value.bit_generator.state
        elif kind == "torch.Generator":
            found[name] = _digest(value.get_state().numpy().tobytes())
    return found


def _signal_handlers() -> dict[str, Any]:
    import signal

    return {signal.Signals(number).name if number in list(signal.Signals) else str(number): signal.getsignal(number)
            for number in signal.valid_signals()}  # fmt: skip


def _functions() -> dict[str, Any]:
    import builtins

    names = {"sys": ("excepthook", "exit", "unraisablehook", "displayhook"), "os": ("fork", "_exit", "kill", "system"),
             "threading": ("excepthook",), "warnings": ("showwarning", "warn"), "subprocess": ("Popen",)}  # fmt: skip
    found = {
        f"{module}.{name}": getattr(sys.modules[module], name, None)
        for module, every in names.items()
        if module in sys.modules
        for name in every
    }
    return found | {name: getattr(builtins, name) for name in ("__import__", "print", "open", "input")}


def _streams() -> dict[str, Any]:
    return {
        name: f"{type(stream).__module__}.{type(stream).__qualname__}, "
        + ("the interpreter's own" if stream is getattr(sys, f"__{name}__") else "another one")
        for name in ("stdin", "stdout", "stderr")
        for stream in (getattr(sys, name),)
    }


def _settings() -> dict[str, Any]:
    found: dict[str, Any] = {
        "working directory": str(Path.cwd()),
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "trace function": repr(sys.gettrace()),
        "profile function": repr(sys.getprofile()),
    }
    modules = sys.modules
    if "gc" in modules:
        found["gc"] = (modules["gc"].isenabled(), modules["gc"].get_threshold())
    if "multiprocessing" in modules:
        found["start method of multiprocessing"] = modules["multiprocessing"].get_start_method(allow_none=True)
    if "warnings" in modules:
        found["warning filters"] = modules["warnings"].filters
    if "tempfile" in modules:
        found["temporary folder"] = modules["tempfile"].tempdir
    if "socket" in modules:
        found["socket timeout"] = modules["socket"].getdefaulttimeout()
    if "locale" in modules:
        found["locale"] = modules["locale"].setlocale(modules["locale"].LC_ALL)
    if "logging" in modules:
        root = modules["logging"].getLogger()
        found["root logger"] = (root.level, [type(handler).__name__ for handler in root.handlers])
    return found


def _children() -> dict[str, Any]:
    """Return the children that stay; one that is about to end (the agent has one in its first 10 ms) gets some time."""
    end = time.monotonic() + _CHILD_S
    while (children := _children_now()) and time.monotonic() < end:
        time.sleep(0.02)
    return {"": children}


def _children_now() -> list[str]:
    names = []
    for file in Path("/proc/self/task").glob("*/children"):
        for pid in file.read_text().split():
            with contextlib.suppress(OSError):  # it has ended since
                names.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return sorted(names)


def _threads() -> dict[str, Any]:
    import threading

    return {"": sorted(t.name for t in threading.enumerate() if not t.name.startswith(_PASSING_THREADS))}


LOOKS: dict[str, Any] = {
    "random stream": _random_streams,
    "signal handler": _signal_handlers,
    "function": _functions,
    "stream": _streams,
    "setting": _settings,
    "environment variable": lambda: {k: v for k, v in os.environ.items() if not k.startswith("AUTOINSTRUMENT_")},
    "sys.path": lambda: {"": sys.path},
    "threads": _threads,
    "child processes": _children,
}
"""The parts of a process's state, by their names in the facts."""
