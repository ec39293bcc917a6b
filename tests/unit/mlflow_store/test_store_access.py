"""No fork cuts a call to a store in two, and none waits long for a server."""

from __future__ import annotations

import os
import threading

from autoinstrument.mlflow_store.store_access import close, reopen, store_access


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


def test_the_end_of_the_process_waits_for_a_transaction_and_lets_none_begin() -> None:
    held, closed, order = threading.Event(), threading.Event(), list[str]()

    def transact() -> None:
        with store_access("sqlite:///y", ""):
            held.set()
            closed.wait(0.3)
            order.append("transaction")
        closed.wait()
        with store_access("sqlite:///y", ""):
            order.append("next transaction")

    writing = threading.Thread(target=transact)
    writing.start()
    held.wait()
    close()
    try:
        order.append("closed")
        closed.set()
        with store_access("sqlite:///y", ""):  # the thread that has closed them can still use them
            writing.join(0.05)
        assert order == ["transaction", "closed"]
    finally:
        reopen()
    writing.join()
    assert order == ["transaction", "closed", "next transaction"]
