"""The Task's runtime properties describe the machine, with the names and values of ClearML's own SDK."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autoinstrument.clearml_api.file_uploads import FileUploads
from autoinstrument.clearml_api.session import Session
from autoinstrument.clearml_api.tasks import Tasks
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.mirror.mapping.run_status import End
from autoinstrument.mirror.run_mirror import RunMirror
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.records import RunStarted, TagsSet
from autoinstrument.settings import Settings
from autoinstrument.worker import gpu_list
from autoinstrument.worker.gpu_list import GpuSpecs, gpus
from autoinstrument.worker.machine_specs import machine_specs
from tests.clearml_server import ClearMLServer
from tests.unit.conftest import sdk_task
from tests.unit.mirror.runs import PROCESS

RUN = RunStarted("r" * 32, "name", "0", "exp", "sqlite:////x", "", "", 1, "", {}, False, True, "")


def mirror_of(journal: RunJournal) -> RunMirror:
    session = Session()
    return RunMirror(journal, Settings(), Tasks(session), Uploads(FileUploads(session)))


def test_names_and_values_are_those_of_the_sdk() -> None:
    from clearml.utilities.resource_monitor import ResourceMonitor

    monitor: Any = types.SimpleNamespace(_gpustat=None)
    expected = ResourceMonitor._get_machine_specs(monitor)
    process = PROCESS._replace(python=expected["python_version"], executable=sys.executable)
    assert machine_specs(process, []) == {"CLI": "train.py", **expected}


def test_gpus_are_described_as_by_the_sdk() -> None:
    specs = machine_specs(PROCESS, [GpuSpecs("NVIDIA H100", 80 * 2**30, "550.54", "12.4")] * 2)
    assert {name: value for name, value in specs.items() if name.startswith("gpu")} == {
        "gpu_count": 2,
        "gpu_type": "NVIDIA H100, NVIDIA H100",
        "gpu_memory": "80GB, 80GB",
        "gpu_driver_version": "550.54",
        "gpu_driver_cuda_version": "12.4",
    }


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Puts a binding of NVML, or the error of its import, in the place of the machine's."""

    def put(binding: Any) -> None:
        def load() -> Any:
            if isinstance(binding, Exception):
                raise binding
            return binding

        monkeypatch.setattr(gpu_list, "loaded_binding", load)

    gpu_list._reading.cache_clear()
    yield put
    gpu_list._reading.cache_clear()


def test_a_machine_without_a_driver_has_no_gpus(nvml: Callable[[Any], None]) -> None:
    nvml(OSError("libnvidia-ml.so.1: cannot open shared object file"))
    assert gpus() == []


def test_a_driver_that_hangs_blocks_no_capture(nvml: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    nvml(types.SimpleNamespace(nvmlInit=answered.wait, nvmlShutdown=int, NVMLError=Exception))
    monkeypatch.setattr(gpu_list, "_PATIENCE_S", 0.01)
    assert gpus() == gpus() == []
    assert [thread.name for thread in threading.enumerate()].count("autoinstrument-gpus") == 1
    answered.set()


def test_the_sdk_reads_the_machine_of_a_run(server: ClearMLServer, tmp_path: Any) -> None:
    """It is kept on disk for `sync`; a run that goes on elsewhere has the newest machine, and properties of others."""
    journals = RunJournals(Settings(home=str(tmp_path)))
    journal = journals.of(RUN, PROCESS)
    journal.runtime = {"hostname": "one", "cpu_cores": 8, "memory_gb": 23.5}
    journal.save()
    mirror = mirror_of(RunJournal.load(journal.folder))
    mirror.flush()
    assert mirror.task is not None
    assert sdk_task(mirror.task.id).data.runtime == journal.runtime
    server.clear_requests()
    mirror.flush()
    assert server.calls("tasks.edit") == []

    Session().call("tasks.edit", task=mirror.task.id, force=True, runtime={"hostname": "one", "progress": "50"})
    journal.task_id, journal.runtime = mirror.task.id, {"hostname": "two"}
    again = mirror_of(journal)
    again.end_as(End("completed", "", ""))
    again.flush()
    assert sdk_task(mirror.task.id).data.runtime == {"hostname": "two", "progress": "50"}

    journal.run, journal.runtime = RUN._replace(owned=False), {"hostname": "three"}  # a process that only logs to it
    mirror_of(journal).flush()
    assert sdk_task(mirror.task.id).data.runtime["hostname"] == "two"


def test_an_adopted_task_keeps_its_description(server: ClearMLServer, tmp_path: Any) -> None:
    task_id = Session().call("tasks.create", name="mine", type="inference")["id"]
    Session().call("tasks.edit", task=task_id, force=True, runtime={"hostname": "its own", "_exec_agent_hostname": "a"})
    journal = RunJournal(tmp_path, RUN._replace(task_id=task_id, tags={"mlflow.runType": "genai_evaluate"}), PROCESS)
    journal.runtime = {"hostname": "ours", "cpu_cores": 8}
    mirror_of(journal).flush()
    assert sdk_task(task_id).data.runtime == {"hostname": "its own", "_exec_agent_hostname": "a", "cpu_cores": 8}
    assert server.task(task_id)["type"] == "inference"


@pytest.mark.parametrize("later", [False, True])
def test_an_evaluation_is_a_test(server: ClearMLServer, tmp_path: Any, later: bool) -> None:
    """MLflow marks the runs of `mlflow.genai.evaluate`, some of them after they have begun."""
    tags = {"mlflow.runType": "genai_evaluate"}
    mirror = mirror_of(RunJournal(tmp_path, RUN._replace(tags={} if later else tags), PROCESS))
    mirror.flush()
    assert mirror.task is not None
    assert server.task(mirror.task.id)["type"] == ("training" if later else "testing")
    mirror.take(TagsSet(RUN.run_id, tags))
    mirror.flush()
    assert server.task(mirror.task.id)["type"] == "testing"
