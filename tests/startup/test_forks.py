"""From Python 3.12 on `os.fork` warns in a process with several threads: the agent's are not among them."""

from __future__ import annotations

import pytest

SCRIPT = """
import json, os, socket, sys, threading, time, warnings

from autoinstrument.guard import errors
from autoinstrument.records import MetricsLogged, RunLinked, RunTagged
from autoinstrument.transport.protocol import Reader, encode, ready
from autoinstrument.transport.sender import Sender

FORKS = 60
here, there = socket.socketpair()
there.sendall(encode([ready()]))
answers = []
sender = Sender(lambda attempt: here, lambda attempt: [], answers.append, lambda: None)
sender.post(MetricsLogged("run", [("loss", 0.0, 0, -1)]))

received = []
def receive(until):
    reader = receive.reader
    while until not in received:
        received.extend(point[3] for record in reader.feed(there.recv(1 << 18)) for point in record.points)
receive.reader = Reader()

def is_back():
    return sum(thread.name.startswith("autoinstrument-") for thread in threading.enumerate()) == 2

def wait(condition):
    end = time.monotonic() + 240
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()

receive(-1)
back = answered = 0
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    for number in range(FORKS):
        sender.post(MetricsLogged("run", [("loss", 1.0, 0, number)]))  # some is on its way, some is not
        if number % 3 == 0:
            receive(number)
        frame = encode([RunLinked(str(number), "task", "", False, False)])
        there.sendall(frame[:7])
        child = os.fork()
        if child == 0:
            os._exit(0)
        back += is_back()  # at once, whatever the script does next
        there.sendall(frame[7:])  # the other half: it is put together by a thread that has begun after the fork
        answered += wait(lambda: len(answers) == number + 1)
        os.waitpid(child, 0)
receive(FORKS - 1)
print(json.dumps([
    [str(warning.message) for warning in warned], back, answered, received == [-1, *range(FORKS)],
    [record.run_id for record in answers] == [str(number) for number in range(FORKS)], dict(errors),
]))
os._exit(0) if not sys.stdout.flush() else None
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_a_fork_finds_no_thread_of_the_agents(new_environment, wheel, version):
    """Nothing that is sent or received meanwhile is lost, and the threads continue when the process does."""
    environment = new_environment(version).install(wheel)
    assert environment.result("-Xdev", "-c", SCRIPT) == [[], 60, 60, True, True, {}]


NO_WORKER = """
import json, os, threading, time, warnings

from autoinstrument.guard import errors
from autoinstrument.records import TagDeleted
from autoinstrument.transport.sender import Sender
from autoinstrument.transport.deferred_records import DeferredStart

def refuse(attempt):
    raise OSError("no worker")

begun = []
sender = Sender(refuse, lambda attempt: [], print, lambda: None)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    for number in range(10):
        sender.post(DeferredStart(lambda number=number: begun.append(number)))
        if number:
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
        end = time.monotonic() + 240
        while len(begun) <= number and time.monotonic() < end:
            time.sleep(0.001)
print(json.dumps([[str(warning.message) for warning in warned], begun == list(range(10)), dict(errors)]))
"""


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_a_fork_finds_no_thread_without_a_worker(new_environment, wheel, version):
    """The thread that records what begins is the only one with something to do then."""
    environment = new_environment(version).install(wheel)
    assert environment.result("-c", NO_WORKER) == [[], True, {}]
