"""What a run waits for before anything of it is sent."""

from __future__ import annotations

import time

from autoinstrument.worker.send_gate import SendGate


def test_a_run_waits_for_its_description_and_for_the_outcome_of_its_task() -> None:
    gate = SendGate()
    assert gate.is_open
    gate.wait_for_description(5.0)
    assert (gate.is_open, gate.describe_at) == (False, 5.0)
    gate.hold()
    gate.note_described()
    assert (gate.is_open, gate.describe_at, gate.is_held) == (False, None, True)
    gate.release()
    assert (gate.is_open, gate.is_held) == (True, False)


def test_the_time_of_the_last_request() -> None:
    gate = SendGate()
    assert gate.last_sent == 0.0
    before = time.monotonic()
    gate.note_sent()
    assert before <= gate.last_sent <= time.monotonic()
