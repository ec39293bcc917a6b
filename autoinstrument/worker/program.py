"""The main program of the worker process: detach from the process that started it, and serve its runs.

It is started by the path of this file, with `-I -S`. Nothing of the package is imported before `sys.path` is complete.
"""

import os
import sys


def main(descriptor: int, folder: str, path: str, executable: str) -> None:
    """Detach by a double fork, and serve the inherited listening socket.

    Args:
        descriptor: file descriptor of the socket.
        folder: the folder that the worker shares with the training process.
        path: what to append to `sys.path`, as JSON.
        executable: the interpreter; `sys.executable` is the name that `ps` shows.
    """
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no fork: there the worker is a thread")
    import signal

    # Until they have handlers. Whoever has started this process has blocked them for its first moments.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # With `-S` the interpreter reaches the forks in 10 ms; the grandchild makes up for it by `site.main`.
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")  # the training's folder may be removed; its file system may be unmounted
    _name_process()
    import contextlib
    import gc
    import json
    import site

    sys.executable = executable
    gc.disable()  # imports make nothing that could be collected
    site.main()
    sys.path.extend(folder for folder in json.loads(path) if folder not in sys.path)
    if os.path.dirname(__file__) == folder:  # noqa: PTH120  (pathlib is not loaded yet)
        os.unlink(__file__)  # noqa: PTH108  (a copy, because the package is in a zip archive)

    from autoinstrument.worker import own_resources, termination

    termination.ignore_signals()
    own_resources.take()
    own_resources.need_temporary_folder(os.path.dirname(folder))  # noqa: PTH120  (as above)

    from autoinstrument.clearml_api import lean_import, sdk

    lean_import.prepare()
    from autoinstrument.worker import service

    gc.freeze()
    gc.enable()  # the parser of ClearML's configuration leaves much to collect
    with contextlib.suppress(Exception):  # reported at the login
        sdk.load(lean=True)
    service.main(descriptor, folder)


def _name_process() -> None:
    """Set the name of the process in `top`, `pstree` and `pgrep`; Linux, 15 characters."""
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123  (pathlib is not loaded yet)
            file.write("autoinstrument")
    except OSError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
