"""The processes in which pytest-xdist runs tests start as copies of one that has loaded what tests need.

Each would be a new interpreter, and spend seven of its first nine seconds of CPU time on MLflow, ClearML's SDK and what
else tests import. Here one process loads all that, and is forked. This file is three programs in one, because the
second and the third must not load the first one's libraries: a part of the process that pytest-xdist is in, the server,
and a client that stands where an interpreter would be started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

LOADED = (
    "pytest", "xdist.remote", "mlflow", "mlflow.genai", "mlflow.store.tracking.sqlalchemy_store", "clearml",
    "clearml.backend_api.session.client", "flask", "hypothesis.strategies", "matplotlib.pyplot", "pandas", "hydra",
    "tyro", "jsonargparse", "IPython.core.interactiveshell",
)  # fmt: skip
"""What takes long to import, and most processes import; what is not installed is left out."""
_END_S = 20
"""How long the server waits for the last of its processes, which pytest-xdist has ended before."""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server; yield the command line that stands for an interpreter (Linux)."""
    import shlex
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="tests-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/workers"
        listener.bind(path)
        listener.listen()
        command = [sys.executable, __file__, "serve", str(listener.fileno())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        try:
            yield shlex.join([sys.executable, "-IS", __file__, path])
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _serve(listener: socket.socket) -> None:
    """Fork a process for each connection until standard input is closed; then wait until all of them have ended."""
    import gc
    import importlib
    import select
    from pathlib import Path

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the processes end first, and Ctrl-C is for them, too
    root = str(Path(sys.path.pop(0)).parent)
    environ = dict(os.environ)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it would start a thread
    gc.disable()  # nothing of what is imported here is garbage
    for name in LOADED:
        with contextlib.suppress(Exception):  # a process that needs it reports why it cannot be imported
            importlib.import_module(name)
    sys.path.insert(0, root)
    with contextlib.suppress(Exception):  # without clearml, or with another version: it takes longer
        importlib.import_module("tests.end_to_end.sdk_configuration").parse_package()
    sys.path.pop(0)
    os.environ.clear()
    os.environ.update(environ)
    gc.enable()
    gc.collect()
    gc.freeze()
    while listener in select.select([listener, 0], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _work(connection)
        connection.close()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _work(connection: socket.socket) -> NoReturn:
    """Do what the interpreter would do whose command line and streams a client has sent."""
    import json
    import types

    data, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", 1, closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = json.loads(data)
    sys.argv[:], sys.orig_argv[:] = ["-c"], [sys.executable, *words]
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    exec(words[-1], main.__dict__)
    sys.exit()


def _hand_over(path: str, words: list[str]) -> None:
    """Give the server this process's streams, and stay until the process that has them has ended."""
    import json

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [json.dumps(words).encode()], [0, 1, 2])
        os.closerange(0, 2)
        connection.recv(1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        _hand_over(sys.argv[1], sys.argv[2:])
