"""The main program of the worker process: detach from the process that started it, and serve its runs.

It is started by the path of this file, with `-I -S`: `ps` shows the package's name, and debuggers that rewrite
`python -c` do not change it. Nothing of the package is imported before `sys.path` is complete.
"""

import os
import sys

_KEPT = (
    "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP",  # errors of the process itself
    "SIGCHLD", "SIGKILL", "SIGSTOP",
    "SIGPIPE", "SIGXFSZ",  # Python ignores them, and `subprocess` resets them
)  # fmt: skip


def main(descriptor: int, folder: str, path: str) -> None:
    """Detach by a double fork, and serve the inherited listening socket.

    Args:
        descriptor: file descriptor of the socket.
        folder: the folder that the worker shares with the training process.
        path: what to append to `sys.path`, as JSON.
    """
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no fork: there the worker is a thread")
    # With `-S` the interpreter reaches the forks in 10 ms; the grandchild makes up for it by `site.main`.
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")  # the training's folder may be removed; its file system may be unmounted
    ignore_signals()
    _name_process()
    import gc
    import json
    import site

    gc.disable()  # imports make nothing that could be collected
    site.main()
    sys.path.extend(folder for folder in json.loads(path) if folder not in sys.path)

    from autoinstrument.clearml_api import lean_import

    lean_import.prepare()
    from autoinstrument.worker import service

    gc.freeze()
    gc.enable()
    service.main(descriptor, folder)


def ignore_signals() -> None:
    """Ignore signals that are meant for the training, and unblock those that were blocked at the start.

    Schedulers signal all processes of a job (`scancel`, `docker stop`, systemd), also to request a checkpoint. The
    worker ends when the training process is gone and everything is delivered; SIGKILL ends it at once.
    """
    if sys.platform == "win32":
        return
    import signal

    # Handlers that do nothing instead of SIG_IGN, which programs started by the worker would inherit.
    for number in signal.valid_signals() - {getattr(signal, name, 0) for name in _KEPT}:
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # some trainings ignore it, and exit codes would be lost
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _name_process() -> None:
    """Set the name of the process in `top`, `pstree` and `pgrep`; Linux, 15 characters."""
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123  (pathlib is not loaded yet)
            file.write("autoinstrument")
    except OSError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
