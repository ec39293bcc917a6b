"""No fork cuts a call to a store in two, and none waits long for a server."""

from __future__ import annotations

import os
import threading

from autoinstrument.mlflow_store.store_access import store_access


def test_a_fork_waits_for_no_server_that_hangs() -> None:
    """As in a data loader that starts its processes while a thread of the agent waits for the tracking server."""
    held, over = threading.Event(), threading.Event()

    def ask() -> None:
        with store_access("http://tracking", ""):
            held.set()
            over.wait(30)

    asking = threading.Thread(target=ask)
    asking.start()
    held.wait()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            with store_access("http://tracking", ""):  # whose own lock is free
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert asking.is_alive()
    over.set()
    asking.join()


def test_a_fork_waits_for_a_transaction() -> None:
    held, forked = threading.Event(), threading.Event()
    order: list[str] = []

    def transact() -> None:
        with store_access("sqlite:///x", ""):
            held.set()
            forked.wait(0.3)
            order.append("transaction")

    writing = threading.Thread(target=transact)
    writing.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0)
    order.append("fork")
    forked.set()
    os.waitpid(child, 0)
    writing.join()
    assert order == ["transaction", "fork"]
