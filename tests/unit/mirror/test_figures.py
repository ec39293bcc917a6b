"""A figure of matplotlib is found under PLOTS, live and by `sync`; other pictures are debug samples, side by side."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from autoinstrument.cli import main
from autoinstrument.mirror.mapping.figures import HEAD, image_plot, is_figure, may_be_figure
from autoinstrument.mirror.mapping.pictures import picture
from tests.clearml_server import ClearMLServer
from tests.clearml_server.event_log import EventLog
from tests.end_to_end.conftest import database as database
from tests.end_to_end.harness import task_of
from tests.unit.conftest import sdk_task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
URL = "http://files/a/metrics/line.png"


def saved(form: str, **options: Any) -> bytes:
    """Return a figure as `savefig` writes it, 6.4 by 3.2 inches."""
    figure = Figure(figsize=(6.4, 3.2))
    figure.subplots().plot([1, 2], label="line")
    content = io.BytesIO()
    figure.savefig(content, format=form, **options)
    return content.getvalue()


def drawn(**options: Any) -> bytes:
    """Return a picture that is not a figure."""
    content = io.BytesIO()
    Image.new("RGB", (8, 4)).save(content, format="png", **options)
    return content.getvalue()


def text(key: str, value: str) -> PngInfo:
    info = PngInfo()
    info.add_text(key, value)
    return info


@pytest.mark.parametrize("form", ["png", "svg"])
def test_files_of_matplotlib_are_recognised(form: str) -> None:
    for options in ({}, {"metadata": {"Title": "x" * 500, "Description": "a plot"}}, {"dpi": 20}):
        content = saved(form, **options)
        assert is_figure(f"a/line.{form.upper()}", content[:HEAD])
        plot = image_plot(URL, "line", content[:HEAD])
        assert plot["layout"]["images"][0]["source"] == URL
        assert plot["layout"]["yaxis"]["range"] == [0, 320]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("line.jpg", lambda: saved("jpg")),  # it has no such text
        ("line.png", lambda: saved("png", metadata={"Software": None})),
        ("line.png", drawn),
        ("line.png", lambda: drawn(pnginfo=text("Software", "ImageMagick"))),
        ("line.png", lambda: drawn(pnginfo=text("Comment", "Matplotlib"))),
        ("line.png", lambda: saved("png")[:40]),
        ("line.png", lambda: b"\x89PNG\r\n\x1a\n" + b"\xff" * 40),
        ("line.png", lambda: b"Matplotlib"),
        ("line.png", lambda: b""),
        ("line.svg", lambda: b"<svg><title>Created with matplotlib</title></svg>"),
        ("line.svg", lambda: b"<svg><defs/><dc:title>Matplotlib v3</dc:title></svg>"),
    ],
)
def test_other_pictures_are_not_figures(path: str, content: Callable[[], bytes]) -> None:
    assert not is_figure(path, content())


def test_figures_of_older_releases_are_recognised() -> None:
    """SVG before matplotlib 3.3, and PNG without a size that makes sense."""
    old = b'<!-- Created with matplotlib (https://matplotlib.org/) -->\n<svg viewBox="0 0 . ." version="1.1">'
    assert is_figure("a.svg", old)
    assert image_plot(URL, "a", old)["layout"]["yaxis"]["range"] == [0, 480]
    header = b"IHDR" + bytes(13)
    empty = b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + zlib.crc32(header).to_bytes(4, "big")
    assert image_plot(URL, "a", empty)["layout"]["yaxis"]["range"] == [0, 480]


def test_the_plot_equals_that_of_the_sdk() -> None:
    from clearml.utilities.plotly_reporter import create_image_plot

    expected = create_image_plot(URL, "line", width=640, height=320)
    assert image_plot(URL, "line", saved("png")) == {
        **expected, "layout": {key: value for key, value in expected["layout"].items() if value is not None},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("black.png", ("images", "black.png", 0)),
        ("report.html", ("pages", "report.html", 0)),
        ("epoch 1/black.png", ("epoch 1", "black.png", 0)),
        ("images/dogs+step+3+timestamp+17+0f.png", ("images", "dogs", 3)),
        ("images/val~dogs+step+3+timestamp+17+0f.png", ("val", "dogs", 3)),
    ],
)
def test_samples_of_a_run_stand_side_by_side(path: str, where: tuple[str, str, int]) -> None:
    """ClearML's page shows one group for each title."""
    event = picture("task", path, URL, 5, drawn())
    assert (event["type"], event["url"]) == ("training_debug_image", URL)
    assert (event["metric"], event["variant"], event["iter"]) == where


def test_a_figure_that_browsers_cannot_open_is_a_debug_sample() -> None:
    """As with the SDK: only an address of HTTP can be the background of a plot."""
    assert picture("task", "line.png", "s3://bucket/line.png", 5, saved("png"))["type"] == "training_debug_image"
    assert picture("task", "line.png", URL, 5, saved("png"))["type"] == "plot"
    assert not may_be_figure("line.pdf")


def autoinstrument(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("mode", ["link", "upload"])
def test_the_sdk_reads_figures_among_the_plots(
    client: MlflowClient, server: ClearMLServer, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verify` finds a figure missing from the plots, as on Tasks of older releases, and `sync --full` adds it."""
    monkeypatch.setenv("AUTOINSTRUMENT_ARTIFACTS", mode)
    experiment = client.create_experiment("old", artifact_location=str(tmp_path / "files"))
    run_id = client.create_run(experiment).info.run_id
    figure = Figure()
    figure.subplots().plot([1, 2])
    client.log_figure(run_id, figure, "curves/roc.png")
    client.log_image(run_id, Image.new("RGB", (8, 4)), "black.png")
    client.set_terminated(run_id)
    assert autoinstrument("sync", "--run", run_id).exit_code == 0
    task_id = task_of(server, run_id)["id"]

    task = sdk_task(task_id)
    (shown,) = task.get_reported_plots()
    assert (shown["metric"], shown["variant"], shown["iter"]) == ("curves", "roc.png", 0)
    source = json.loads(shown["plot_str"])["layout"]["images"][0]["source"]
    content = (tmp_path / "files" / run_id / "artifacts" / "curves" / "roc.png").read_bytes()
    assert server.files[source.removeprefix(f"{server.files_url}/")] == content
    (sample,) = task.get_debug_samples("images", "black.png")
    assert sample["url"].endswith("black.png")

    assert autoinstrument("verify", run_id).exit_code == 0
    events = server.events(task_id)
    with server.state.lock:
        server.state.events[task_id] = EventLog()
        server.state.events[task_id].extend(event for event in events if event["type"] != "plot")
    found = autoinstrument("verify", run_id)
    assert found.exit_code == 1
    assert "artifact: curves/roc.png: a figure of matplotlib that is not among the plots" in found.output
    assert f"autoinstrument sync --full --run {run_id}" in found.output
    assert autoinstrument("sync", "--full", "--run", run_id).exit_code == 0
    assert autoinstrument("verify", run_id).exit_code == 0

    def plain(event: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in event.items() if name != "@timestamp"}

    assert sorted(map(str, map(plain, server.events(task_id)))) == sorted(map(str, map(plain, events)))


def test_a_large_figure_is_found_by_its_first_bytes() -> None:
    from autoinstrument.mirror.kinds.artifact_content import ArtifactContent
    from autoinstrument.records import ArtifactLogged

    content = saved("png")
    record = ArtifactLogged("r", "line.png", len(content), 0, base64.b64encode(content).decode())
    assert ArtifactContent(record, content, None).head() == content[:HEAD]
    assert ArtifactContent(record, b"", None).head() == b""
    assert ArtifactContent(record, b"", Path("/nowhere")).head() == b""
