"""The program between a process's descriptors 1 and 2 and what they led to (`AUTOINSTRUMENT_CONSOLE=descriptors`).

It writes each piece to the user's descriptor first, waiting as long as that takes, and then hands it to the worker. It
is detached, ignores signals, and stays until the last process that holds the descriptors is gone. A guardian, which has
forked it, goes on without a worker if it is killed. If the user's descriptor takes no more (`| head`), the next write
of the process fails as it would have.

A regular file is not put in between: it is read beside the processes that write to it.
"""

import os
import sys


def main(package: str, plan: str) -> None:
    """Detach, and relay until all writers are gone.

    Args:
        package: folder to import the package from.
        plan: JSON, see `descriptors.Descriptors`.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    import json
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    wanted = json.loads(plan)
    closed, closing = os.pipe()
    relay = os.fork()
    if relay:
        os.close(closing)
        while number := os.read(closed, 1):  # until the relay ends
            os.close(wanted["streams"].pop(number[0])[1])
        if os.waitpid(relay, 0)[1] == 0 or not wanted["streams"]:
            os._exit(0)
    sys.path.append(package)
    from autoinstrument.child_console.relay_streams import RelayStreams

    # No worker after the first relay was killed: the cause may kill the second one, too.
    RelayStreams(wanted, closing, with_worker=not relay).run()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:3])
