"""Artifacts, figures, images and tables of a run are in its Task, live and through `sync`."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from mlflow.tracking import MlflowClient

from tests.clearml_server import ClearMLServer, Fault
from tests.end_to_end.harness import MONITOR, Place, ended, link_tags
from tests.end_to_end.processes import wait_for

SCRIPT = """
import io, pathlib
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, mlflow, numpy, plotly.graph_objects as go
from mlflow.tracking import MlflowClient
with mlflow.start_run(run_name="files") as run:
    mlflow.log_text("hello\\n", "notes/hello.txt")
    mlflow.log_text("Grüße 日本", "notes/Grüße & 日本 +1.txt")
    mlflow.log_text("x" * 100_000, "notes/long.txt")
    mlflow.log_text("first", "replaced.txt")
    mlflow.log_text("second!", "replaced.txt")
    mlflow.log_text("not the link", "MLflow run")
    mlflow.log_text("", "empty.txt")
    mlflow.log_text("too long", "/".join(["folder" * 20] * 3) + "/name.txt")
    mlflow.log_dict({"a": [1, 2]}, "config.json")
    if hasattr(MlflowClient, "log_stream"):
        MlflowClient().log_stream(run.info.run_id, io.BytesIO(b"from a stream"), "stream.bin")
    folder = pathlib.Path("out")
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "a.csv").write_text("x,y\\n1,2\\n")
    (folder / "deep" / "b.bin").write_bytes(bytes(range(256)))
    mlflow.log_artifacts(str(folder), "all")
    mlflow.log_artifact("out")
    (folder / "big.bin").write_bytes(bytes(2**20))
    mlflow.log_artifact("out/big.bin")
    (folder / "big.bin").unlink()
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    mlflow.log_figure(figure, "plots/line.png")
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
print("logged")
"""


def artifacts(task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return MLflow's artifacts in a Task, by path."""
    items = task["execution"]["artifacts"]
    return {item["display_data"][0][1]: item for item in items if item["key"] != "MLflow run"}


def plots(server: ClearMLServer, task: dict[str, Any]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the Task's plots, parsed as strictly as a browser does it."""
    return {
        (event["metric"], event["variant"], event["iter"]): json.loads(event["plot_str"], parse_constant=pytest.fail)
        for event in server.events(task["id"])
        if event["type"] == "plot"
    }


def samples(server: ClearMLServer, task: dict[str, Any]) -> dict[tuple[str, str, int], bytes]:
    """Return the Task's debug samples: the bytes that were uploaded to their addresses."""
    found = {}
    for event in server.events(task["id"]):
        if event["type"] == "training_debug_image":
            found[event["metric"], event["variant"], event["iter"]] = uploaded(server, event["url"])
    return found


def uploaded(server: ClearMLServer, url: str) -> bytes:
    """Return the file at an address of the file server."""
    assert url.startswith(f"{server.files_url}/")
    return server.files[unquote(urlsplit(url).path).lstrip("/")]


def in_mlflow(place: Place, run_id: str) -> dict[str, int]:
    """Return path and size of all artifacts that MLflow lists, without the thumbnails that it makes of images."""

    def below(folder: str | None) -> dict[str, int]:
        found: dict[str, int] = {}
        for info in place.client.list_artifacts(run_id, folder):
            found |= below(info.path) if info.is_dir else {info.path: info.file_size}
        return found

    return {path: size for path, size in below(None).items() if not path.endswith("compressed.webp")}


def comparable(server: ClearMLServer, task: dict[str, Any]) -> dict[str, Any]:
    """Return the data that two runs of the script share: stepped images and plotly's pages have random names."""

    def plain(text: str) -> str:
        text = re.sub(r"(?<=/)[0-9a-f]{32}(?=/)|(?<=timestamp.)\d+.[0-9a-f-]{36}", "…", text)
        return text.replace(task["id"], "…")

    figures = plots(server, task)
    for figure in figures.values():
        for image in figure["layout"].get("images", ()):  # pixels differ by nothing but their address
            image["source"] = plain(image["source"])
    exact = {path: item for path, item in artifacts(task).items() if not path.endswith("scatter.html")}
    return {
        "artifacts": sorted(
            [plain(item["key"]), plain(item["uri"]), item["type_data"]["content_type"], item["type_data"]["preview"],
             item["content_size"], item.get("hash")]
            for item in exact.values()
        ),
        "page": bool(artifacts(task)["plots/scatter.html"]["hash"]),
        "plots": figures,
        "samples": samples(server, task),
    }  # fmt: skip


def bring_back(place: Place, server: ClearMLServer) -> None:
    wait_for(lambda: not place.workers())
    server.start()


def test_files_are_artifacts_and_figures_are_shown_live_and_through_sync(
    own_place: Place, own_server: ClearMLServer
) -> None:
    """The Task has what MLflow lists, with size, hash and the beginning of texts; `sync` makes the same of it."""
    done = own_place.run(SCRIPT)
    assert done.code == 0, done.stderr
    assert len(done.agent_lines) == 1, done.stderr
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    held = artifacts(task)
    listed = in_mlflow(own_place, run.info.run_id)
    assert {path: item["content_size"] for path, item in held.items()} == listed
    assert len([path for path in held if path.startswith("images/")]) == 3
    assert own_place.command("verify", run.info.run_id).code == 0
    root = Path(urlsplit(run.info.artifact_uri).path)
    for path, item in held.items():
        assert item["uri"] == f"file://{root / path}"
        assert item.get("hash") in (None, hashlib.sha256((root / path).read_bytes()).hexdigest())
    previews = {path: item["type_data"]["preview"] for path, item in held.items()}
    assert previews["notes/Grüße & 日本 +1.txt"] == "Grüße 日本"
    assert previews["notes/long.txt"] == "x" * 65536
    assert previews["replaced.txt"] == "second!"
    assert previews["all/deep/b.bin"] == previews["big.bin"] == previews["plots/line.png"] == ""
    keys = {path: item["key"] for path, item in held.items()}
    assert {path for path, key in keys.items() if path != key} == {"MLflow run", max(listed, key=len)}
    assert all(len(key) <= 250 for key in keys.values())
    assert len(set(keys.values())) == len(keys)

    shown = plots(own_server, task)
    of_plots = {("plots", name, 0) for name in ("line.png", "scatter.html", "scatter.json")}
    assert set(shown) == {*of_plots, ("tables", "eval.json", 0)}
    (image,) = shown["plots", "line.png", 0]["layout"]["images"]
    assert uploaded(own_server, image["source"]) == (root / "plots/line.png").read_bytes()
    for name in ("scatter.html", "scatter.json"):
        (trace,) = shown["plots", name, 0]["data"]
        assert (trace["x"], trace["y"]) == ([0.0, 1.0, 2.0], [1.0, None, 3.0])
    (table,) = shown["tables", "eval.json", 0]["data"]
    assert table["header"]["values"] == ["input", "score"]
    assert table["cells"]["values"] == [["a", "b"], [0.5, None]]

    pictures = samples(own_server, task)
    stepped = [("val", "dogs", 0), ("val", "dogs", 1), ("images", "later", 7)]
    files = ["pages/report.html", "pictures/black.png", "pictures/noise.png"]
    assert set(pictures) == {*stepped, *((*path.split("/"), 0) for path in files)}
    for path in files:
        folder, name = path.split("/")
        assert pictures[folder, name, 0] == (root / path).read_bytes()

    own_server.close()
    assert own_place.run(SCRIPT).code == 0
    bring_back(own_place, own_server)
    synced = own_place.command("sync")
    assert synced.code == 0, synced.stderr
    other = ended(own_server, own_place.mlflow_runs()[-1].info.run_id)
    assert comparable(own_server, other) == comparable(own_server, task)


def test_the_data_of_an_evaluation_is_shown(place: Place, server: ClearMLServer) -> None:
    """Confusion matrix and table of results; MLflow imports its evaluators while the agent asks for the experiment."""
    script = """
        import mlflow, pandas
        frame = pandas.DataFrame({"label": [0, 1, 1, 0] * 5, "prediction": [0, 1, 0, 0] * 5})
        with mlflow.start_run():
            mlflow.models.evaluate(
                data=frame, targets="label", predictions="prediction", model_type="classifier", evaluators="default"
            )
            score = lambda predictions, targets: mlflow.metrics.MetricValue(scores=[1.0] * len(predictions))
            metric = mlflow.metrics.make_metric(eval_fn=score, greater_is_better=True, name="mine")
            mlflow.models.evaluate(data=frame, targets="label", predictions="prediction", extra_metrics=[metric])
        """
    done = place.run(script)
    assert done.code == 0, done.stderr
    task = ended(server, place.the_run().info.run_id)
    assert set(artifacts(task)) == set(in_mlflow(place, place.the_run().info.run_id))
    shown = plots(server, task)
    assert shown["confusion_matrix.png", "confusion_matrix.png", 0]["layout"]["images"]
    (table,) = shown["eval_results_table.json", "eval_results_table.json", 0]["data"]
    assert "mine/score" in table["header"]["values"]
    (bars,) = shown["eval_results_table.json", "eval_results_table.json mine/score", 0]["data"]
    assert (bars["x"], bars["y"]) == (["1"], [20])


def test_behind_a_tracking_server_the_links_give_the_files(
    own_place: Place, own_server: ClearMLServer, mlflow_server: str
) -> None:
    """Every address of a proxied store answers with the file's bytes; `upload` copies all files to ClearML."""
    own_place.uri = mlflow_server.replace("http://", "http://me:sesame@")
    experiment = MlflowClient(mlflow_server).create_experiment("proxied")
    own_place.environ["MLFLOW_EXPERIMENT_ID"] = experiment
    done = own_place.run(SCRIPT.replace('name="files"', 'name="linked"'))
    assert done.code == 0, done.stderr
    (run,) = MlflowClient(mlflow_server).search_runs([experiment], "attributes.run_name = 'linked'")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    task = ended(own_server, run.info.run_id)
    held = artifacts(task)
    assert set(held) == set(in_mlflow(own_place, run.info.run_id))
    assert "sesame" not in repr(task)
    contents = {path: requests.get(item["uri"], timeout=5).content for path, item in held.items()}
    for path, item in held.items():
        assert len(contents[path]) == item["content_size"]
        assert item.get("hash") in (None, hashlib.sha256(contents[path]).hexdigest())
    assert contents["notes/Grüße & 日本 +1.txt"] == "Grüße 日本".encode()
    assert samples(own_server, task)["pictures", "noise.png", 0] == contents["pictures/noise.png"]

    own_server.close()
    done = own_place.run(SCRIPT.replace('name="files"', 'name="copied"'), AUTOINSTRUMENT_ARTIFACTS="upload")
    bring_back(own_place, own_server)
    synced = own_place.command("sync", MLFLOW_TRACKING_URI=own_place.uri)
    assert synced.code == 0, synced.stderr
    (run,) = MlflowClient(mlflow_server).search_runs([experiment], "attributes.run_name = 'copied'")
    copied = ended(own_server, run.info.run_id)
    assert set(plots(own_server, copied)) == set(plots(own_server, task))
    assert set(samples(own_server, copied)) == set(samples(own_server, task))
    for path, item in artifacts(copied).items():
        content = uploaded(own_server, item["uri"])
        assert hashlib.sha256(content).hexdigest() == item["hash"]
        if "images/" not in path and "plots/" not in path:
            assert content == contents[path]


def test_upload_and_off(own_place: Place, own_server: ClearMLServer) -> None:
    """`upload` copies each file once, also a large one that only the store has; `off` leaves everything out."""
    done = own_place.run(SCRIPT, AUTOINSTRUMENT_ARTIFACTS="upload")
    assert done.code == 0, done.stderr
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    wait_for(lambda: not own_place.workers())
    root = Path(urlsplit(run.info.artifact_uri).path)
    held = artifacts(own_server.task(task["id"]))
    for path, item in held.items():
        content = uploaded(own_server, item["uri"])
        assert content == (root / path).read_bytes()
        assert item["hash"] == hashlib.sha256(content).hexdigest()
    # `replaced.txt` may have been mirrored between its two versions.
    assert len(own_server.calls("files.upload")) <= len(in_mlflow(own_place, run.info.run_id)) + 1
    assert len(samples(own_server, task)) == 6

    own_server.clear_requests()
    assert own_place.run(SCRIPT, AUTOINSTRUMENT_ARTIFACTS="off").code == 0
    task = ended(own_server, own_place.mlflow_runs()[-1].info.run_id)
    assert artifacts(task) == {}
    events = [event for event in own_server.events(task["id"]) if not str(event.get("metric")).startswith(MONITOR)]
    assert {event["type"] for event in events} == {"log"}
    assert own_server.calls("files.upload") == []


def test_uploads_go_where_clearml_is_configured_to_keep_files(own_place: Place, own_server: ClearMLServer) -> None:
    """Artifacts to `default_output_uri`, here a folder that all machines share; pictures to the file server."""
    script = """
        import mlflow
        with mlflow.start_run():
            mlflow.log_text("kept", "a folder/text.txt")
            mlflow.log_text("<b>page</b>", "page.html")
        """
    shared = own_place.root / "shared"
    done = own_place.run(script, AUTOINSTRUMENT_ARTIFACTS="upload", CLEARML_DEFAULT_OUTPUT_URI=str(shared))
    assert done.code == 0, done.stderr
    task = ended(own_server, own_place.the_run().info.run_id)
    uri = artifacts(task)["a folder/text.txt"]["uri"]
    assert Path(uri.removeprefix("file://")).read_text() == "kept"
    assert Path(uri.removeprefix("file://")).is_relative_to(shared)
    assert samples(own_server, task) == {("pages", "page.html", 0): b"<b>page</b>"}


def test_a_file_server_that_is_down_costs_only_the_pictures(own_place: Place, own_server: ClearMLServer) -> None:
    """The Task ends as its run did, with all but pictures; one line names what waits, and `sync` uploads it."""
    own_server.faults.add(Fault(endpoints="files.*", status=503))
    done = own_place.run(SCRIPT)
    assert done.code == 0
    assert len(done.agent_lines) == 2, done.stderr
    assert "autoinstrument sync" in done.agent_lines[1]
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert task["status"] == "completed"
    assert set(artifacts(task)) == set(in_mlflow(own_place, run.info.run_id))
    assert len(plots(own_server, task)) == 3
    assert samples(own_server, task) == {}
    assert link_tags(run)["state"] == "pending"
    wait_for(lambda: not own_place.workers())
    assert own_place.command("sync").code == 1
    own_server.faults.clear()
    assert own_place.command("sync").code == 0
    assert len(samples(own_server, task)) == 6
    assert len(plots(own_server, task)) == 4
    assert own_server.task(task["id"])["status"] == "completed"
    assert link_tags(own_place.the_run())["state"] == "synced"
    assert own_place.journals() == []


@pytest.mark.may_report("ClearML refuses", "more than fits into memory", "did not fit")
def test_files_that_a_server_refuses_are_left_out_and_listed(own_place: Place, own_server: ClearMLServer) -> None:
    """A file server refuses every file, and there are more artifacts than a Task can hold; nothing else is lost."""
    own_server.faults.add(Fault(endpoints="files.upload", status=413))
    script = """
        import pathlib, mlflow
        folder = pathlib.Path("many")
        folder.mkdir()
        for number in range(2100):
            (folder / f"{number:04}.txt").write_text(str(number))
        with mlflow.start_run():
            mlflow.log_text("<svg/>", "picture.svg")
            mlflow.log_artifacts("many")
            mlflow.log_metric("loss", 1)
        """
    done = own_place.run(script)
    assert done.code == 0, done.stderr
    wait_for(lambda: not own_place.workers())
    run = own_place.the_run()
    task = ended(own_server, run.info.run_id)
    assert len(task["execution"]["artifacts"]) == 2000
    assert "picture.svg" in artifacts(task)
    left_out = task["configuration"]["MLflow artifacts left out"]["value"]
    assert len([line for line in left_out.splitlines() if ".txt" in line]) == 101
    assert "picture.svg: not uploaded: " in left_out
    assert "413" in left_out
    assert link_tags(run)["state"] == "synced"


def test_the_training_process_reads_no_large_file(own_place: Place) -> None:
    """MLflow opens a file once to copy it; that stays so, and the script finds its temporary folder as it left it."""
    script = """
        import collections, os, pathlib, sys
        opened = collections.Counter()
        def hook(event, arguments):
            if event == "open":
                opened[os.path.basename(str(arguments[0]))] += 1
        import mlflow
        pathlib.Path("large.csv").write_text("1,2,3\\n" * 200_000)
        pathlib.Path("large.json").write_text("[" + "1," * 200_000 + "1]")
        with mlflow.start_run():
            sys.addaudithook(hook)
            mlflow.log_artifact("large.json")
            mlflow.log_artifact("large.csv")
        print(opened["large.json"], opened["large.csv"])
        """
    plain, watched = own_place.run(script, agent=False), own_place.run(script)
    assert plain.stdout == "1 1\n"
    assert watched.stdout == "1 2\n"  # the beginning of a text is read, for its preview
