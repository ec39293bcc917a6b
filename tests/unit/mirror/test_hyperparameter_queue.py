"""Parameters, tags and properties wait as one value a name, within the room of one Task."""

from __future__ import annotations

from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.mirror import hyperparameter_queue
from autoinstrument.mirror.hyperparameter_queue import HyperparameterQueue
from autoinstrument.mirror.mapping.hyperparameters import hyperparameter
from autoinstrument.mirror.rejections import Rejections


def new_queue() -> tuple[HyperparameterQueue, Rejections]:
    rejections = Rejections("run")
    return HyperparameterQueue(Tasks(Session()), rejections), rejections


def test_the_last_value_of_a_name_counts() -> None:
    queue, _ = new_queue()
    queue.put([hyperparameter("MLflow", "a", "1"), hyperparameter("MLflow", "a", "2")])
    assert queue.initial()["hyperparams"]["MLflow"]["a"]["value"] == "2"
    queue.delete("MLflow", "a")
    assert (queue.initial(), queue.names("MLflow"), queue.has_work) == ({"hyperparams": {}}, {"a"}, True)
    queue.put([hyperparameter("MLflow", "a", "3")])
    assert queue.initial()["hyperparams"]["MLflow"]["a"]["value"] == "3"


def test_a_new_task_is_made_with_the_values_that_wait() -> None:
    queue, _ = new_queue()
    queue.put([hyperparameter("MLflow", "a", "1"), hyperparameter("properties", "b", "2")])
    whole = queue.initial()
    bare = {"hyperparams": {"properties": whole["hyperparams"]["properties"]}}
    queue.created(bare)
    assert queue.names("MLflow") == {"a"}
    assert queue.names("properties") == set()
    queue.created(whole)
    assert not queue.has_work


def test_a_value_without_room_is_left_out_and_a_deleted_one_gives_its_room_back() -> None:
    queue, rejections = new_queue()
    room = "x" * (hyperparameter_queue._ROOM - 3)
    assert queue.has_room("MLflow tags", "big", room)
    assert rejections.new_list() is None
    assert not queue.has_room("MLflow", "a", "1")
    listed = rejections.new_list()
    assert listed is not None
    assert listed["value"] == "'a' of section MLflow: a Task has no room for it"
    queue.delete("MLflow tags", "big")
    assert queue.has_room("MLflow", "a", "1")
