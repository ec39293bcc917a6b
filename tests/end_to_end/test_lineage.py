"""Data that a run uses reaches its Task: prompts, and models of other runs, as the output models of their Tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, properties
from tests.end_to_end.processes import wait_for

SCRIPT = """
import mlflow, pandas, warnings
from sklearn.linear_model import LinearRegression
warnings.simplefilter("ignore")

frame = pandas.DataFrame({"x": [0.0, 1.0], "y": [0.0, 2.0]})
client = mlflow.MlflowClient()
mlflow.set_experiment("lineage")
with mlflow.start_run(run_name="train") as train:
    fitted = LinearRegression().fit(frame[["x"]], frame["y"])
    mlflow.sklearn.log_model(fitted, name="line", registered_model_name="iris", pip_requirements=["scikit-learn"])
    mlflow.sklearn.load_model(f"runs:/{train.info.run_id}/line")
client.set_registered_model_alias("iris", "champion", "1")

model = mlflow.sklearn.load_model("models:/iris@champion")
with mlflow.start_run(run_name="tune"):
    mlflow.log_metric("slope", model.coef_[0])
with mlflow.start_run(run_name="prompts"):
    mlflow.genai.register_prompt("greet", "Hello {{name}}")
    mlflow.genai.register_prompt("greet", "Good day, {{name}}")
    mlflow.genai.load_prompt("prompts:/greet/1")
with mlflow.start_run(run_name="evaluate"):
    no_plots = {"log_explainer": False, "log_model_explainability": False}
    mlflow.models.evaluate("models:/iris/1", frame, targets="y", model_type="regressor", evaluator_config=no_plots)
"""


def inputs(task: dict[str, Any]) -> list[tuple[str, str]]:
    """Return name and id of a Task's input models."""
    return [(entry["name"], entry["model"]) for entry in task["models"]["input"]]


def test_models_and_prompts_live(server: ClearMLServer, new_place: Callable[[ClearMLServer | None], Place]) -> None:
    place = new_place(server)
    place.run(SCRIPT)
    runs = {run.info.run_name: run.info.run_id for run in place.mlflow_runs()}
    for run_id in runs.values():
        ended(server, run_id)
    wait_for(lambda: not place.workers())
    tasks = {name: ended(server, run_id) for name, run_id in runs.items()}
    (made,) = tasks["train"]["models"]["output"]
    assert inputs(tasks["train"]) == [], "a run's own model is not an input of it"
    assert inputs(tasks["tune"]) == [("line", made["model"])], "it was loaded before the run began"
    assert inputs(tasks["evaluate"]) == [("line", made["model"])]
    (model,) = (each for each in server.models if each["id"] == made["model"])
    assert model["task"] == tasks["train"]["id"]

    used = json.loads(tasks["prompts"]["configuration"]["MLflow prompts"]["value"])
    assert {each["version"]: each["template"] for each in used} == {"1": "Hello {{name}}", "2": "Good day, {{name}}"}
    assert properties(tasks["prompts"])["mlflow_prompts"] == "greet/1, greet/2"
    linked = tasks["prompts"]["hyperparams"]["MLflow tags"]["mlflow.linkedPrompts"]["value"]
    assert json.loads(linked) == [{"name": "greet", "version": "1"}]
    verified = place.command("verify", "--json", *runs.values())
    assert json.loads(verified.stdout)["same"] == len(runs), verified.stdout
