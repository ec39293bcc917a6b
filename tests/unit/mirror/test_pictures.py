"""Path and content of an artifact decide how it is shown, whatever wrote it."""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go
import pytest

from autoinstrument.mirror.mapping.artifact_entries import address, key, preview
from autoinstrument.mirror.mapping.pictures import MAX_PLOT, Place, is_picture, is_thumbnail, place, plots
from autoinstrument.records import RunStarted


def shown(path: str, content: str) -> list[dict[str, Any]]:
    """Return the figures of a file's plots, parsed as strictly as a browser does it."""
    events = plots("task", path, content.encode(), 5)
    return [json.loads(event["plot_str"], parse_constant=pytest.fail) for event in events]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("images/val~dogs+step+3+timestamp+1700000000000+0f-1a.png", Place("val", "dogs", 3, 1700000000000)),
        ("images/val#dogs%step%3%timestamp%1700000000000%0f-1a.png", Place("val", "dogs", 3, 1700000000000)),
        ("images/a b+step+-1+timestamp+17+0f.png", Place("a b", "a b", -1, 17)),
        ("images/mine.png", Place("images", "mine.png", 0, 0)),
        ("roc.png", Place("roc.png", "roc.png", 0, 0)),
        ("a/b/roc.png", Place("a/b", "roc.png", 0, 0)),
        (f"images/far+step+{10**19}+timestamp+17+0f.png", None),
    ],
)
def test_a_picture_is_shown_under_its_path_or_its_key_and_step(path: str, where: Place | None) -> None:
    """MLflow 2.16 and 3.17 name stepped images differently."""
    assert place(path) == (where or Place("images", path.partition("/")[2], 0, 0))
    assert is_picture(path)


def test_thumbnails_are_distinguished_from_images() -> None:
    """A person's own WebP files are images."""
    assert is_thumbnail("images/a+step+3+timestamp+17+0f+compressed.webp")
    assert is_thumbnail("images/a%step%3%timestamp%17%0f%compressed.webp")
    assert is_thumbnail("table_images/t/0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f.webp")
    for image in (
        "images/a+step+3+timestamp+17+0f.png",
        "table_images/t/0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f.png",
        "mine.webp",
        "table_images/mine.webp",
        "images/compressed.webp",
    ):
        assert is_picture(image)
        assert not is_thumbnail(image)


@pytest.mark.parametrize("plotlyjs", ["cdn", True])
def test_figures_of_a_plotly_page_are_found(plotlyjs: Any) -> None:
    """Also where plotly's own code, 5 MB of it, is part of the page; two figures are two plots."""
    figure = go.Figure(go.Heatmap(z=[[1.5, float("inf")], [3.0, 4.0]]), layout={"title": {"text": "</script>"}})
    page = figure.to_html(include_plotlyjs=plotlyjs)
    (plot,) = shown("a.html", page)
    assert plot["data"][0]["z"] == [[1.5, None], [3.0, 4.0]]
    assert plot["layout"]["title"] == {"text": "</script>"}
    both = page + figure.to_html(include_plotlyjs=False)
    assert [event["variant"] for event in plots("t", "a.html", both.encode(), 5)] == ["a.html", "a.html 2"]


@pytest.mark.parametrize("title", [None, {}, "", {"text": " "}, {"font": {"size": 9}}, 5])
def test_a_figure_without_a_title_is_called_as_its_series(title: Any) -> None:
    """ClearML's pages cannot maximise a figure that has none; the SDK gives it the same one."""
    given = {"width": 5} if title is None else {"width": 5, "title": title}
    figure = json.dumps({"data": [{"y": [1]}], "layout": given})
    (plot,) = shown("plots/a.json", figure)
    assert plot["layout"] == {"title": "a.json", "width": 5}
    page = f'<script>Plotly.newPlot("x", [], {json.dumps(given)}); Plotly.newPlot("y", [], {{}})</script>'
    assert [plot["layout"]["title"] for plot in shown("plots/a.html", page)] == ["a.html", "a.html 2"]


@pytest.mark.parametrize("title", ["own", {"text": "own", "x": 0.5}])
def test_a_figures_own_title_stays(title: Any) -> None:
    (plot,) = shown("plots/a.json", json.dumps({"data": [{"y": [1]}], "layout": {"title": title}}))
    assert plot["layout"]["title"] == title


def test_packed_arrays_are_unpacked() -> None:
    """plotly.py 6 packs arrays in a way that older web pages of ClearML cannot draw."""
    packed = {"dtype": "i2", "bdata": "AQACAAMABAAFAAYA", "shape": "2, 3"}
    figure = {"data": [{"z": packed, "x": {"dtype": "f8", "bdata": "nonsense"}}], "layout": {}}
    (plot,) = shown("a.json", json.dumps(figure))
    assert plot["data"][0] == {"z": [[1, 2, 3], [4, 5, 6]], "x": {"dtype": "f8", "bdata": "nonsense"}}


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "null", "[" * 100_000, '{"data": {}}', '{"columns": ["a"], "data": [[1]], "index": [0]}',
        '{"data": [1]}', '{"data": [], "layout": []}',
        json.dumps({"data": ["x" * MAX_PLOT], "layout": {}}),
    ],
    ids=lambda content: content[:20],
)  # fmt: skip
def test_other_json_is_not_a_plot(content: str) -> None:
    assert shown("a.json", content) == []


@pytest.mark.parametrize("depth", range(300, 1100, 50))
def test_a_figure_that_is_nested_too_deeply_is_not_a_plot(depth: int) -> None:
    """It must not keep the rest of the run back; a parser takes deeper texts than Python's own functions."""
    nested = "[" * depth + "]" * depth
    assert len(shown("a.json", f'{{"data": [], "layout": {{"a": {nested}}}}}')) in (0, 1)


def test_a_table_shows_any_cell_and_not_too_many_rows() -> None:
    image = {"type": "image", "filepath": "table_images/t/0f.png", "compressed_filepath": "table_images/t/0f.webp"}
    rows = [[1, image, {"a": [1]}, float("nan")], [2]] + [[3, None, None, None]] * 2000
    table = {"columns": ["n", "image", "any", ["two", "levels"]], "data": rows}
    (plot,) = shown("folder/t.json", json.dumps(table))
    cells = plot["data"][0]["cells"]["values"]
    assert [column[0] for column in cells] == [1, "table_images/t/0f.png", '{"a": [1]}', None]
    assert cells[1][1] == ""
    assert {len(column) for column in cells} == {1000}
    assert "2002" in plot["layout"]["title"]


@pytest.mark.parametrize(
    ("root", "tracking", "expected"),
    [
        (
            "mlflow-artifacts:/1/r/artifacts",
            "http://u:p@h:5000/base",
            "http://h:5000/base{proxy}/1/r/artifacts/a%20b/c",
        ),
        ("mlflow-artifacts://other:80/1/r", "https://h", "https://other:80{proxy}/1/r/a%20b/c"),
        ("s3://bucket/1/r", "http://h", "s3://bucket/1/r/a b/c"),
        ("gs://bucket", "http://h", "gs://bucket/a b/c"),
        ("ftp://u:p@h/1", "http://h", "ftp://h/1/a b/c"),
        ("wasbs://c@account.blob.core.windows.net/1", "sqlite:///x", "azure://account.blob.core.windows.net/c/1/a b/c"),
        ("dbfs:/databricks/mlflow/1", "databricks", "dbfs:/databricks/mlflow/1/a b/c"),
        ("file:///my%20runs/1", "sqlite:///x", "file:///my runs/1/a b/c"),
        ("/my runs/1", "sqlite:///x", "file:///my runs/1/a b/c"),
    ],
)
def test_an_artifact_has_an_address_without_credentials(root: str, tracking: str, expected: str) -> None:
    empty = RunStarted(*(["r"] * len(RunStarted._fields)))  # type: ignore[arg-type]
    run = empty._replace(artifact_uri=root, tracking_uri=tracking)
    assert address(run, "a b/c") == expected.format(proxy="/api/2.0/mlflow-artifacts/artifacts")


def test_keys_stay_apart() -> None:
    long = "f/" * 300
    assert len({key(path) for path in (long + "a", long + "b", "a", "MLflow run")} | {key("a", taken=True)}) == 5
    assert all(len(key(long + name)) <= 250 for name in "ab")


def test_a_preview_is_text_and_cut_between_two_characters() -> None:
    assert preview("a.txt", "é".encode() * 50_000) == "é" * 32768
    assert preview("a.txt", b"x" + "é".encode() * 50_000) == "x" + "é" * 32767
    assert preview("conf/.hydra/config.yaml", b"password: x\n") == "password: ********\n"
    assert preview("train.py", b"password: x\n") == "password: x\n"
    assert preview("a.bin", b"\xff\xfe text") == preview("a.bin", b"a\0b") == preview("a.png", b"text") == ""
