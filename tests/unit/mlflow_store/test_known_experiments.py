"""A round of `sync --follow` sees that an experiment was renamed, deleted or restored since the round before."""

from __future__ import annotations

from mlflow.tracking import MlflowClient

from autoinstrument.mlflow_store.known_experiments import KnownExperiments
from autoinstrument.mlflow_store.runs import find_runs
from tests.unit.conftest import client as client

LONG_AGO, NOW = 1_600_000_000_000, 1_700_000_000_000


def a_round(known: KnownExperiments, *experiments: str) -> list[str]:
    """Return the names of the runs that a round takes that is for runs of late only."""
    known.begin_round()
    found = find_runs(experiments=experiments, ended_since_ms=NOW, deleted=True, known=known)
    return [stored.run.run_name for stored in found]


def test_all_runs_of_an_experiment_that_has_changed_are_taken(client: MlflowClient) -> None:
    first, second = client.create_experiment("first"), client.create_experiment("second")
    for experiment, name in ((first, "one"), (second, "two")):
        client.set_terminated(client.create_run(experiment, run_name=name).info.run_id, end_time=LONG_AGO)
    known = KnownExperiments()
    assert list(find_runs(ended_since_ms=NOW)) == []
    assert a_round(known) == ["two", "one"], "nothing is known yet"
    assert a_round(known) == []
    assert not known.have_changed
    client.rename_experiment(first, "renamed")
    assert a_round(known) == ["one"]
    assert known.have_changed
    assert a_round(known) == []
    client.delete_experiment(second)
    assert a_round(known) == ["two"]
    client.restore_experiment(second)
    assert a_round(known) == ["two"]
    assert a_round(known) == []


def test_an_experiment_is_found_under_the_name_that_it_had(client: MlflowClient) -> None:
    """`sync --experiment first --follow` goes on when the experiment is renamed, and when another takes the name."""
    experiment = client.create_experiment("first")
    client.set_terminated(client.create_run(experiment, run_name="one").info.run_id, end_time=LONG_AGO)
    known = KnownExperiments()
    assert a_round(known, "first") == ["one"]
    client.rename_experiment(experiment, "renamed")
    assert a_round(known, "first") == ["one"]
    other = client.create_experiment("first")
    client.set_terminated(client.create_run(other, run_name="two").info.run_id, end_time=NOW + 1)
    assert a_round(known, "first") == ["two"]
