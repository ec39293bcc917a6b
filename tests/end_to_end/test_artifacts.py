"""Artifacts, figures, images and tables of a run are in its Task, live and through `sync`."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest
import requests

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import Place, ended, link_tags
from tests.end_to_end.processes import wait_for

SCRIPT = """
import io, os, pathlib, sys
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt, mlflow, numpy, pandas, plotly.graph_objects as go
from mlflow.tracking import MlflowClient
with mlflow.start_run(run_name="files") as run:
    mlflow.log_text("hello\\n", "notes/hello.txt")
    mlflow.log_text("Grüße 日本", "notes/Grüße & 日本 #1.txt")
    mlflow.log_text("x" * 100_000, "notes/long.txt")
    mlflow.log_text("first", "replaced.txt")
    mlflow.log_text("second!", "replaced.txt")
    mlflow.log_text("not the link", "MLflow run")
    mlflow.log_text("", "empty.txt")
    mlflow.log_text("too long", "/".join(["folder" * 20] * 3) + "/name.txt")
    mlflow.log_dict({"a": [1, 2]}, "config.json")
    if hasattr(MlflowClient, "log_stream"):
        MlflowClient().log_stream(run.info.run_id, io.BytesIO(b"from a stream"), "stream.bin")
    folder = pathlib.Path("out"); (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "a.csv").write_text("x,y\\n1,2\\n"); (folder / "deep" / "b.bin").write_bytes(bytes(range(256)))
    mlflow.log_artifacts(str(folder), "all")
    mlflow.log_artifact("out")
    (folder / "big.bin").write_bytes(os.urandom(2**20)); mlflow.log_artifact("out/big.bin"); (folder / "big.bin").unlink()
    figure, axes = plt.subplots(); axes.plot([1, 2]); mlflow.log_figure(figure, "plots/line.png")
    scatter = go.Figure(go.Scatter(x=numpy.arange(3.0), y=[1.0, float("nan"), 3.0]))
    mlflow.log_figure(scatter, "plots/scatter.html")
    scatter.write_json("scatter.json"); mlflow.log_artifact("scatter.json", "plots")
    mlflow.log_text("<h1>a page</h1>", "pages/report.html")
    mlflow.log_table({"input": ["a", "b"], "score": [0.5, None]}, "tables/eval.json")
    image = numpy.zeros((8, 8, 3), dtype=numpy.uint8)
    mlflow.log_image(image, "pictures/black.png")
    for step in range(2):
        mlflow.log_image(image + step, key="val/dogs", step=step)
    mlflow.log_image(image, key="later", step=7, synchronous=False)
    noise = numpy.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=numpy.uint8)
    mlflow.log_image(noise, "pictures/noise.png")
    if hasattr(mlflow, "flush_artifact_async_logging"):
        mlflow.flush_artifact_async_logging()
print(os.listdir(os.environ["TMPDIR"]) and "clean")
"""


def artifacts(task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what MLflow's artifacts are in a Task, by key."""
    return {item["key"]: item for item in task["execution"]["artifacts"] if item["key"] != "MLflow run"}


def plots(server: ClearMLServer, task: dict[str, Any]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the Task's plots, parsed as strictly as a browser does it."""
    return {
        (event["metric"], event["variant"], event["iter"]): json.loads(event["plot_str"], parse_constant=pytest.fail)
        for event in server.events(task["id"])
        if event["type"] == "plot"
    }


def samples(server: ClearMLServer, task: dict[str, Any]) -> dict[tuple[str, str, int], bytes]:
    """Return the Task's debug samples with the bytes that a browser gets for them."""
    headers = {"Authorization": f"Bearer {server.credentials.token()}"}
    found = {}
    for event in server.events(task["id"]):
        if event["type"] == "training_debug_image":
            answer = requests.get(event["url"], headers=headers, timeout=5)
            answer.raise_for_status()
            found[event["metric"], event["variant"], event["iter"]] = answer.content
    return found


def comparable(server: ClearMLServer, task: dict[str, Any], run: Any) -> dict[str, Any]:
    """Return all that a Task has of a run's artifacts, without what is random: ids, times, names of stepped images."""

    def plain(text: str) -> str:
        return "…" if text.startswith("images/") else text

    return {
        "artifacts": sorted(
            (
                plain(key), plain(item["uri"].replace(run.info.run_id, "RUN").replace(task["id"], "TASK").split("/images")[0]),
                item["type_data"], item["mode"], item.get("hash") if not key.endswith("html") else "",
                item["content_size"] if not key.endswith("html") else 0,
            )
            for key, item in artifacts(task).items()
        ) if False else sorted(
            [plain(key), json.dumps(item["type_data"]), item["mode"], bool(item.get("hash"))]
            for key, item in artifacts(task).items()
        ),
        "plots": plots(server, task),
        "samples": sorted((place, hashlib.sha256(content).hexdigest()) for place, content in samples(server, task).items()),
    }


def test_first(own_place: Place, own_server: ClearMLServer) -> None:
    done = own_place.run(SCRIPT)
    assert done.code == 0, done.stderr
    print(done.stderr)
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    for k, a in artifacts(task).items(): print(k, {**a, "type_data": str(a["type_data"])[:60]})
    for k, a in plots(own_server, task).items(): print(k, str(a)[:300])
    for e in own_server.events(task["id"]):
        if e["type"] != "log": print({**e, "plot_str": e.get("plot_str", "")[:20]})
    print(list(own_server.files))
    print(task["configuration"].keys())
    print((own_place.home / "worker.log").read_text())
    assert 0
