"""Runs as MLflow may hold them: names, parameters, tags, points and files of every kind."""

from __future__ import annotations

import base64

from hypothesis import strategies as st

from autoinstrument.records import (
    ArtifactLogged,
    MetricsLogged,
    ParamsLogged,
    ProcessStarted,
    Record,
    RunStarted,
    TagsSet,
)

texts = st.text(max_size=40)
words = st.one_of(
    texts,
    st.text(st.characters(exclude_categories=[]), max_size=40),  # lone surrogates too
    st.sampled_from(["\udcff", "\udcc3\udca4 \udcff", "\ud83d\ude00", "a\x00b", "a\x1bb"]),
)
keys = st.one_of(
    words.filter(lambda key: key.strip() != ""),
    st.sampled_from(
        ["a.b", "$set", "a/b/c", "/", "//", "a/", "/a", " blank ", "x" * 250, "ü" * 250, ".", "a%2Eb", "0"]
    ),
)
values = st.one_of(words, st.sampled_from(["", "x" * 6000, "None", "[1, 2]", "line\nline", "🏃"]))
steps = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1))
times = st.integers(1_600_000_000_000, 1_600_000_000_010)
numbers = st.one_of(
    st.floats(width=32),
    st.floats(),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e39, 3.4e38, 1e-300, -0.0, 0.1]),
)
points = st.tuples(st.sampled_from(["loss", "val/loss", "a/b/c", "/", "x y.z$"]), numbers, times, steps)

paths = st.builds(str.__add__, keys, st.sampled_from(["", ".txt", ".png", ".json", ".html", ".svg", "/MLflow run"]))
contents = st.one_of(
    st.binary(max_size=50),
    texts.map(str.encode),
    st.sampled_from(
        [
            b'{"columns": ["a"], "data": [[NaN], [1, 2], 3]}',
            b'{"data": [{"y": [Infinity, {"dtype": "f8", "bdata": ""}]}], "layout": {}}',
            b"<script>Plotly.newPlot( 'x', [], {}); Plotly.newPlot(\"x\", [{}], {})</script>",
        ]
    ),
)


@st.composite
def runs(draw: st.DrawFn) -> tuple[RunStarted, list[Record]]:
    """A run, and the records of what was logged to it."""
    run_id = draw(st.uuids()).hex
    run = RunStarted(
        run_id=run_id,
        run_name=draw(words),
        experiment_id=str(draw(st.integers(0, 10**18))),
        experiment_name=draw(keys),
        tracking_uri=draw(st.sampled_from(["sqlite:////x/mlflow.db", "https://user:secret@example.com/mlflow"])),
        run_url=draw(st.sampled_from(["", "https://example.com/#/experiments/0/runs/1"])),
        artifact_uri=draw(st.sampled_from(["file:///x/1", "s3://user:secret@bucket/1", "mlflow-artifacts:/1"])),
        start_time_ms=draw(times),
        parent_run_id="",
        tags=draw(st.dictionaries(keys, values, max_size=5)),
        resumed=False,
        owned=True,
        task_id="",
    )
    params = draw(st.dictionaries(keys, values, max_size=8))
    types = st.sampled_from(["", "int", "float", "bool", "str", "NoneType", "list", "Namespace"])
    records: list[Record] = [ParamsLogged(run_id, [(key, value, draw(types)) for key, value in params.items()])]
    for batch in draw(st.lists(st.lists(points, max_size=20), max_size=3)):
        records.append(MetricsLogged(run_id, batch))
    for path, content in draw(st.dictionaries(paths, contents, max_size=4)).items():
        text = base64.b64encode(content).decode()
        records.append(ArtifactLogged(run_id, path, len(content), draw(times), text))
    records.append(TagsSet(run_id, draw(st.dictionaries(keys, values, max_size=5))))
    return run, records


PROCESS = ProcessStarted(
    pid=1,
    started_ms=1_600_000_000_000,
    host="host",
    user="user",
    python="3.11.7",
    executable="/usr/bin/python3",
    cwd="/work",
    argv=["train.py"],
    main_kind="script",
    main_path="/work/train.py",
    main_module="",
    source="",
    sys_path=[],
    modules=[],
    arguments=[("lr", "0.1", "float")],
)
