"""ClearML's own configuration shapes the Task, see docs/clearml-settings.md."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, section

CONFIGURATION = """
    sdk.development {
        detect_with_pip_freeze: true
        log_os_environments: ["MODEL_*"]
        default_output_uri: "/storage"
        worker.log_stdout: false
    }
    """


@pytest.mark.parametrize("worker", ["process", "thread"])
def test_the_configuration_shapes_a_task(own_place: Place, own_server: ClearMLServer, worker: str) -> None:
    settings = own_place.root / "clearml.conf"
    settings.write_text(CONFIGURATION)
    own_place.environ |= {"CLEARML_CONFIG_FILE": str(settings), "CLEARML_DOCKER_IMAGE": "python:3.12"}
    own_place.environ |= {"MODEL_SIZE": "7", "MODEL_API_KEY": "hunter2", "AUTOINSTRUMENT_WORKER": worker}
    script = "import mlflow\nwith mlflow.start_run():\n    print('trained')\n"
    assert own_place.run(script, fresh=True).code == 0  # with a separate environment
    task = ended(own_server, own_place.the_run().info.run_id)
    assert section(task, "Environment") == {"MODEL_SIZE": "7"}
    assert "\npytest==" in task["script"]["requirements"]["pip"]
    assert task["output"]["destination"] == "/storage"
    assert task["container"]["image"] == "python:3.12"
    assert own_server.console(task["id"]) == ""

    own_place.environ["CLEARML_OFFLINE_MODE"] = "1"
    assert own_place.run(script, fresh=True).code == 0
    del own_place.environ["CLEARML_OFFLINE_MODE"]
    assert own_place.command("sync").code == 0
    (recorded,) = [each for each in own_server.tasks if each["id"] != task["id"]]
    assert section(recorded, "Environment") == {"MODEL_SIZE": "7"}
    assert "\npytest==" in recorded["script"]["requirements"]["pip"]
    assert own_server.console(recorded["id"]) == ""
    assert own_place.command("verify").code == 0
