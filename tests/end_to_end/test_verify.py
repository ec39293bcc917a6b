"""`verify` finds no difference after a live run of everything, and `sync` of it changes nothing."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end import test_artifacts, test_models, test_sync
from tests.end_to_end.harness import Place
from tests.end_to_end.processes import wait_for


def test_a_live_run_of_everything_is_clean(own_place: Place, own_server: ClearMLServer) -> None:
    for script in (test_models.SCRIPT, test_artifacts.SCRIPT, test_sync.SCRIPT + "    raise ValueError('lost')\n"):
        own_place.run(script, seconds=120)
    wait_for(lambda: not own_place.workers(), 60)
    verified = own_place.command("verify")
    assert verified.code == 0, verified.stdout
    before = [(task["id"], task["status"], task.get("status_reason"), task["name"]) for task in own_server.tasks]
    synced = own_place.command("sync", "--all")
    assert synced.code == 0, synced.stdout
    after = [(task["id"], task["status"], task.get("status_reason"), task["name"]) for task in own_server.tasks]
    assert after == before
    again = own_place.command("verify")
    assert again.code == 0, again.stdout


@pytest.mark.core
def test_a_plain_run_is_clean(own_place: Place) -> None:
    """Without the frameworks that the other one needs."""
    assert own_place.run(test_sync.SCRIPT).code == 0
    wait_for(lambda: not own_place.workers(), 60)
    verified = own_place.command("verify")
    assert (verified.code, verified.stdout) == (0, "1 the same, 0 different\n")
