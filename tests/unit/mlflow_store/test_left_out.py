"""A run of an experiment that is not mirrored is left out, unless it has a link already."""

from __future__ import annotations

import pytest

from autoinstrument.mlflow_store.left_out import is_left_out
from autoinstrument.records import RunStarted

RUN = RunStarted("r", "name", "0", "scratch", "sqlite:////x", "", "", 1, "", {}, True, True, "")


@pytest.mark.parametrize("tag", ["clearml.task_id", "clearml.state"])
def test_which_runs_are_left_out(tag: str) -> None:
    assert is_left_out(RUN, ["prod/*"])
    assert not is_left_out(RUN, ["scratch"])
    assert not is_left_out(RUN._replace(tags={tag: "x"}), ["prod/*"])
    copied = RUN._replace(tags={tag: "x"}, resumed=False)
    assert is_left_out(copied, ["prod/*"]), "a new run may have been given the tags of another one"
