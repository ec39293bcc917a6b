"""`python -m tests.clearml_server`: run the double by hand and print the variables to export."""

from __future__ import annotations

import argparse
import shlex
import signal
import threading

from .faults import Fault
from .server import ClearMLServer


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.clearml_server", description=__doc__)
    parser.add_argument("--port", type=int, default=8008, help="API (default 8008; 0 takes free ports)")
    parser.add_argument("--web-port", type=int, help="pages (default 8080, or free where the API port is not 8008)")
    parser.add_argument("--files-port", type=int, help="files (default 8081, or free where the API port is not 8008)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer (default 0)")
    options = parser.parse_args()
    usual = options.port == 8008
    web_port = options.web_port if options.web_port is not None else 8080 * usual
    files_port = options.files_port if options.files_port is not None else 8081 * usual
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ClearMLServer(options.port, web_port, files_port) as server:
        if options.latency:
            server.faults.add(Fault(latency=options.latency))
        for name, value in server.environ.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
