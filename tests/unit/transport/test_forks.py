"""How long a fork waits for the agent's threads: as long as they work, on a busy machine too, and not for a server."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from autoinstrument.transport import forks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Thread, threading.Event]]:
    """A thread that waits for an event; and no pause is longer than a look."""
    monkeypatch.setattr(forks, "_WAIT_S", 0.0)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield thread, over
    over.set()
    thread.join()


def test_one_that_waits_for_something_is_not_waited_for(thread: tuple[threading.Thread, threading.Event]) -> None:
    forks._wait_for([thread[0]])
    assert thread[0].is_alive()


def test_one_that_works_is_waited_for(
    thread: tuple[threading.Thread, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it works until the tenth look."""
    working, over = thread
    looks: list[threading.Thread] = []

    def works(each: threading.Thread) -> bool:
        looks.append(each)
        if len(looks) == 10:
            over.set()
        return True

    monkeypatch.setattr(forks, "_WAIT_S", 60.0)
    monkeypatch.setattr(forks, "_WORK_S", 60.0)
    monkeypatch.setattr(forks, "_works", works)
    forks._wait_for([working])
    assert not working.is_alive()
    assert len(looks) >= 10


def test_whether_a_thread_works_is_what_the_system_says(thread: tuple[threading.Thread, threading.Event]) -> None:
    working, over = thread
    looks: list[bool] = []
    looking = threading.Thread(target=lambda: looks.append(forks._works(threading.current_thread())))
    looking.start()
    looking.join()
    assert looks == [True]
    for _ in range(1000):  # it may just be about to wait
        if not forks._works(working):
            break
    else:
        pytest.fail("it waits")
    over.set()
    working.join()
    while forks._left([working]):
        pass
    assert not forks._works(working)
