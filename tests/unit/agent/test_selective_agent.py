"""The names of their experiments decide which runs are tracked, without a request on the calling thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from autoinstrument.agent import Agent
from autoinstrument.agent.selective_agent import SelectiveAgent
from autoinstrument.agent.tracked_run import TrackedRun
from autoinstrument.clone_run import start as clone_run
from autoinstrument.mlflow_store.describe import Description
from autoinstrument.mlflow_store.link_tags import TASK_ID
from autoinstrument.records import EventsDropped, ParamsLogged, RunEnded, RunStarted
from autoinstrument.settings import Settings
from tests.unit.agent.test_tracked_run import ENDED, STARTED

URI = STARTED.tracking_uri


class Base:
    """Notes the calls for runs that are mirrored, and does nothing else."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def begin(self, agent: Agent, run_id: str, make: Callable[[], RunStarted | None], **_: Any) -> None:
        run = make()
        assert run is not None
        agent._runs[run_id] = TrackedRun(run_id)
        self.calls.append(run)

    def take(self, _: Agent, *call: Any) -> None:
        self.calls.append(call[-1] if len(call) == 1 else call[0])


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Base:
    base = Base()
    monkeypatch.setattr("autoinstrument.agent.process_console.ConsoleCapture.attach", lambda _: None)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    monkeypatch.setattr(clone_run, "_description", None)
    for name in ("post", "post_soon", "run_ended", "_written"):
        monkeypatch.setattr(Agent, name, lambda agent, *call: base.take(agent, *call))
    monkeypatch.setattr(Agent, "run_started", lambda agent, *call, **more: base.begin(agent, *call, **more))
    monkeypatch.setattr(Agent, "finish", lambda _: None)
    return base


def selective(*patterns: str) -> SelectiveAgent:
    return SelectiveAgent(Settings(experiments=patterns))


def described(name: str = "experiment", **more: Any) -> Description:
    """A description that is made without a store."""
    return Description(lambda: STARTED._replace(experiment_name=name), "0", **more)


def start(agent: SelectiveAgent, make: Callable[[], RunStarted | None], **more: Any) -> None:
    agent.run_started("id", make, tracking_uri=URI, workspace="", **more)


def log(agent: SelectiveAgent) -> None:
    agent.post(ParamsLogged("id", []))
    agent.post_soon("id", "tags", lambda: None)
    agent._written("stdout", "text")
    agent.run_ended(ENDED)


def decided(agent: SelectiveAgent) -> None:
    for thread in list(agent._asking):
        thread.join()


def test_an_experiment_that_is_not_mirrored_costs_no_thread_and_no_record(base: Base) -> None:
    agent = selective("prod/*")
    agent.note_experiment(URI, "0", "scratch")
    start(agent, described("scratch"))
    assert (agent.knows("id"), agent.is_open("id"), agent.is_left_alone("id")) == (True, True, True)
    log(agent)
    assert not agent.post_point("id", ("loss", 0.5, 0, 0)), "`post` leaves it out"
    assert not agent.is_open("id")
    assert (base.calls, agent._asking) == ([], [])


def test_a_known_experiment_is_mirrored_at_once(base: Base) -> None:
    agent = selective("prod/*")
    agent.note_experiment(URI, "0", "prod/a")
    start(agent, described("prod/a"))
    assert base.calls == [STARTED._replace(experiment_name="prod/a")]
    assert agent._asking == []
    log(agent)
    assert base.calls[1:] == [ParamsLogged("id", []), "id", "stdout", ENDED]


@pytest.mark.parametrize(("name", "calls"), [("prod/a", 5), ("scratch", 0)])
def test_an_unknown_experiment_is_asked_for_elsewhere_and_the_run_waits(base: Base, name: str, calls: int) -> None:
    agent, may_answer, asked_on = selective("prod/*"), threading.Event(), []

    def make() -> RunStarted:
        asked_on.append(threading.current_thread())
        assert may_answer.wait(60)
        return STARTED._replace(experiment_name=name)

    start(agent, Description(make, "0"))
    assert not agent.has_room(1), "content of files does not wait"
    log(agent)
    assert base.calls == []
    may_answer.set()
    agent.finish()
    assert asked_on != [threading.current_thread()]
    assert len(base.calls) == calls
    assert agent.is_left_alone("id") == (not calls)
    agent.run_started("next", Description(lambda: STARTED._replace(run_id="next"), "0"), tracking_uri=URI, workspace="")
    assert agent._asking == [], "what was decided holds for the experiment"


def test_a_run_that_has_a_task_stays(base: Base) -> None:
    agent = selective("prod/*")
    agent.note_experiment(URI, "0", "scratch")
    start(agent, described("scratch", is_linked=True), again=True)
    assert len(base.calls) == 1


def test_a_run_of_another_process_is_read_first(base: Base) -> None:
    seen = STARTED._replace(experiment_name="scratch", resumed=True, owned=False)
    agent = selective("prod/*")
    start(agent, Description(lambda: seen), owned=False)
    decided(agent)
    assert base.calls == []
    agent = selective("prod/*")
    start(agent, Description(lambda: seen._replace(tags={TASK_ID: "t"})), owned=False)
    decided(agent)
    assert len(base.calls) == 1


def test_a_run_that_is_gone_is_left_alone(base: Base) -> None:
    agent = selective("*,!scratch")
    start(agent, Description(lambda: None), owned=False)
    decided(agent)
    assert agent.is_left_alone("id")


def test_a_clone_belongs_to_its_task(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone_run, "_description", {"task": "t", "settings": {}})
    agent = selective("prod/*")
    agent.note_experiment(URI, "0", "scratch")
    start(agent, described("scratch"))
    assert len(base.calls) == 1


def test_a_store_that_does_not_answer(base: Base) -> None:
    def make() -> RunStarted:
        raise ConnectionError("no answer")

    agent = selective("prod/*")
    start(agent, Description(make, "0"))
    log(agent)
    agent.finish()
    assert base.calls == []
    assert agent.is_left_alone("id")


def test_work_beyond_the_limit_is_read_from_the_store(base: Base) -> None:
    agent, may_answer = selective("prod/*"), threading.Event()

    def make() -> RunStarted:
        assert may_answer.wait(60)
        return STARTED._replace(experiment_name="prod/a")

    start(agent, Description(make, "0"))
    for _ in range(1001):
        agent.post(ParamsLogged("id", []))
    may_answer.set()
    decided(agent)
    assert EventsDropped("id", 0) in base.calls
    assert len(base.calls) == 1002


def test_text_belongs_to_a_run_that_is_mirrored_while_one_is_open(base: Base) -> None:
    agent = selective("prod/*")
    agent._written("stdout", "before any run")
    agent.note_experiment(URI, "0", "scratch")
    agent.note_experiment(URI, "1", "prod/a")
    start(agent, described("scratch"))
    agent._written("stderr", "in scratch")
    other = STARTED._replace(run_id="other")
    agent.run_started("other", Description(lambda: other, "1"), tracking_uri=URI, workspace="")
    agent._written("stdout", "in both")
    agent.run_ended(RunEnded("other", "FINISHED", 1, "", False))
    agent._written("stderr", "in scratch again")
    agent.run_ended(ENDED)
    agent._written("stdout", "after all")
    assert [call for call in base.calls if isinstance(call, str)] == ["stdout"] * 3


def test_a_change_of_a_model_starts_no_worker_by_itself(base: Base) -> None:
    agent, asked = selective("prod/*"), []
    agent.post(lambda: asked.append(1))
    decided(agent)
    assert (asked, base.calls) == ([1], [])


def test_a_forked_child_asks_for_itself(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agent, "_forked", lambda _: None)
    agent = selective("prod/*")
    start(agent, Description(lambda: (threading.Event().wait(0.2), None)[1], "0"))
    agent._forked()
    assert not agent.knows("id")


def test_the_latest_open_run_may_be_undecided(base: Base) -> None:
    agent = selective("other")
    assert agent.latest_open_run() == ""
    agent._runs["mirrored"] = TrackedRun("mirrored")
    agent._runs["mirrored"].begin(URI, "", owned=True)
    agent._runs["of another process"] = TrackedRun("of another process")
    agent._runs["of another process"].begin(URI, "", owned=False)
    assert (agent.latest_open_run(), agent.tracking_uri_of("mirrored")) == ("mirrored", URI)
    agent._runs["mirrored"].end(ENDED)
    assert agent.latest_open_run() == ""
    agent.note_experiment(URI, "0", "experiment")
    start(agent, described())
    assert agent.latest_open_run() == "id", "what is noted of it is dropped"
    agent.run_ended(ENDED)
    assert agent.latest_open_run() == ""
