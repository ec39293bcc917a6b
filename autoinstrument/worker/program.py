"""The program of the worker process: leave the process that started it, and serve its runs.

Started by the path of this file, with `-I -S`: `ps` then shows whose process it is, and debuggers that rewrite
`python -c` leave it alone. Nothing of the package is imported before the interpreter's path is complete.
"""

import os
import sys

_KEPT = (
    "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP",  # what the process itself has done
    "SIGCHLD", "SIGKILL", "SIGSTOP",
    "SIGPIPE", "SIGXFSZ",  # Python ignores them, and `subprocess` resets them
)  # fmt: skip


def main(descriptor: int, folder: str, path: str) -> None:
    """Detach with a double fork, and serve the listening socket that was inherited.

    Args:
        descriptor: the socket's.
        folder: the folder that the worker shares with the training process.
        path: what to append to `sys.path`, as JSON.
    """
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no fork: there the worker is a thread")
    # `-S` lets the interpreter reach the forks in 10 ms; the grandchild then does what `-S` left out.
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")  # the training's folder may be removed; its file system may be unmounted
    ignore_signals()
    _name_process()
    import json
    import site

    site.main()
    sys.path.extend(folder for folder in json.loads(path) if folder not in sys.path)

    from autoinstrument.worker import service

    service.main(descriptor, folder)


def ignore_signals() -> None:
    """Ignore what is meant for the training, and lift the mask with which the process was started.

    Schedulers signal all processes of a job (`scancel`, `docker stop`, systemd), also for a checkpoint. The worker ends
    when the training has gone and everything is delivered; SIGKILL ends it at once.
    """
    if sys.platform == "win32":
        return
    import signal

    # Handlers that do nothing, not SIG_IGN: programs that the worker starts would inherit that.
    for number in signal.valid_signals() - {getattr(signal, name, 0) for name in _KEPT}:
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by some trainings; exit codes would be lost
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _name_process() -> None:
    """Set the name that `top`, `pstree` and `pgrep` know the process by; Linux, 15 characters."""
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123  (pathlib is not loaded yet)
            file.write("autoinstrument")
    except OSError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
