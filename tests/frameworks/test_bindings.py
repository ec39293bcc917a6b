"""If a script called `Task.init`, ClearML's bindings log the files that the script saves, and none of MLflow's."""

from __future__ import annotations

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place

SCRIPT = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, mlflow, numpy, os, tempfile, torch, xgboost
from clearml import Task
Task.init("team/own", "own task", auto_resource_monitoring=False)

x = numpy.random.rand(50, 3)
booster = xgboost.train({"max_depth": 1}, xgboost.DMatrix(x, x[:, 0]), 2)
figure = plt.figure("own figure")
plt.plot([1, 2, 3])

with mlflow.start_run():
    mlflow.xgboost.log_model(booster, name="model", pip_requirements=["xgboost"], model_format="json")
    mlflow.pytorch.log_state_dict({"layer": torch.zeros(1)}, "state")
    mlflow.log_figure(figure, "figure.png")
    booster.save_model(os.path.join(tempfile.gettempdir(), "booster.json"))
    torch.save({"layer": torch.zeros(1)}, "state.pt")
    figure.savefig("figure.png")
"""


def test_the_bindings_do_not_log_files_of_mlflow(sdk_place: Place, own_server: ClearMLServer) -> None:
    """The script's own files are ClearML's as without the agent; the model that went to MLflow is there once."""
    done = sdk_place.run(SCRIPT)
    assert done.code == 0, done.stderr
    (task,) = own_server.tasks
    model, *own = sorted(own_server.models, key=lambda model: "/models/" not in model["uri"])
    assert "/models/m-" in model["uri"]  # MLflow's own address of it
    assert sorted(other["uri"].rpartition("/")[2] for other in own) == ["booster.json", "state.pt"]
    plots = [event["metric"] for event in own_server.events(task["id"]) if event["type"] == "plot"]
    assert len(plots) == 2, "what the script saved, and the run's figure"
    assert plots.count("figure.png") == 1
    artifacts = {file.path for file in sdk_place.client.list_artifacts(sdk_place.the_run().info.run_id)}
    assert artifacts == {"figure.png", "state"}
