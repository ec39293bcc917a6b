"""What a run looks like in ClearML: pure functions from records to the bodies of ClearML's requests.

Live mirror and `sync` use these and nothing else, so that a run ends as the same Task whichever way it came.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Any

from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import ADOPTED, DEVELOPMENT
from autoinstrument.clone_run.lineage import as_properties, from_properties
from autoinstrument.clone_run.settings import OBJECT, kept, written
from autoinstrument.integrations.argparse_values import HYDRA
from autoinstrument.journal.run_journal import RunJournal
from autoinstrument.records import Dataset, Param, Point, ProcessStarted, RunStarted, TracesLogged
from autoinstrument.scrubber import hide_in_text, hide_named, without_credentials
from autoinstrument.settings import Settings

SECTION, TAGS_SECTION, TAG = "MLflow", "MLflow tags", "mlflow"
ARGUMENTS = "Args"
"""ClearML's own section for the command line; from it a clone's parser is given its values."""
NOTE = "mlflow.note.content"
LINK = "MLflow run"
LEFT_OUT, FILES_LEFT_OUT = "MLflow points left out", "MLflow artifacts left out"
REFUSED = "refused by ClearML"
ENDED = "mlflow_run_ended"

_SHORTEST = 3
"""ClearML refuses shorter names, of each segment of a project's path too (400/800)."""
_MAX_LEFT_OUT = 1000
_LONGEST, _DATASETS = 100_000, 2_000_000
"""Characters of a data set's schema or profile, and of all data sets, that a Task is given: it is one document of 16 MB
with all it holds."""
_RECORD = "logged by the run; an edit in a clone has no effect"
"""What ClearML's pages show beside a parameter of the section `MLflow`: those of `Args` look the same, and have one."""
_SYSTEM = re.compile(
    r"system/(?:.+/)?(?:system_)?(?P<quantity>[a-z]+)_[a-z0-9_]*(?P<unit>percentage|megabytes|gigabytes|watts)"
)
"""MLflow's system metrics, as in `system/disk_usage_megabytes` and `system/NODE/gpu_0_power_usage_watts`."""
_PARAM_TYPES = {"int": "int", "float": "float", "bool": "bool", "str": "str", "NoneType": ""}


def new_task(settings: Settings, capture: RunJournal, params: Sequence[Param], ended_ms: int = 0) -> dict[str, Any]:
    """Return the body of `tasks.create` for a run's Task, all but its project: capture, parameters, links, note.

    `ended_ms` as in `properties`.
    """
    run, process = capture.run, capture.process
    items = [
        *properties(run, ended_ms=ended_ms),
        *parameters(params),
        *tags(run.tags),
        *arguments(process.arguments if process else ()),
    ]
    body: dict[str, Any] = {
        "name": task_name(settings, run, process),
        "type": "training",
        "tags": [TAG],
        "system_tags": [DEVELOPMENT],
        "script": script(capture),
        "hyperparams": sections(items),
        "configuration": {item["name"]: item for item in [*configuration(capture), travelling(settings, run)]},
        "execution": {"artifacts": link_artifact(run)},
    }
    if run.tags.get(NOTE):
        body["comment"] = comment(run.tags)
    return body


def comment(run_tags: Mapping[str, str]) -> str:
    """Return the comment that says the run's note, "" for none."""
    return storable.text(hide_in_text(run_tags.get(NOTE, "")))


def bare(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return of the body of `tasks.create` what a Task cannot do without, and what leads back to its run."""
    needed = {name: body[name] for name in ("name", "type", "tags", "system_tags", "parent") if name in body}
    return {**needed, "hyperparams": {"properties": body["hyperparams"]["properties"]}}


def script(capture: RunJournal) -> dict[str, Any]:
    """Return the script section, with the requirements that an agent is to install."""
    return {**capture.script, "requirements": {"pip": capture.requirements}}


def configuration(capture: RunJournal) -> list[dict[str, str]]:
    """Return the configuration object that lists all installed packages."""
    if not capture.freeze:
        return []
    return [{"name": "pip freeze", "value": capture.freeze, "type": "text", "description": "all installed packages"}]


def travelling(settings: Settings, run: RunStarted) -> dict[str, str]:
    """Return the configuration object with the settings that an agent's run of a clone takes."""
    text = written(settings, without_credentials(run.tracking_uri), run.experiment_name)
    return {"name": OBJECT, "value": text, "type": "text", "description": "settings that a clone's run takes"}


def settings_of(task: Mapping[str, Any], settings: Settings) -> Settings:
    """Return the settings, or a Task's own where it has them with it."""
    item = (task.get("configuration") or {}).get(OBJECT)
    return settings if item is None else kept(str(item.get("value") or ""), settings)


def files_left_out(lines: Sequence[str]) -> dict[str, str]:
    """Return the configuration object that says what of the run's artifacts the Task lacks, a line each."""
    more = len(lines) - _MAX_LEFT_OUT
    text = "\n".join([*lines[:_MAX_LEFT_OUT], *([f"and {more} more"] if more > 0 else [])])
    return {"name": FILES_LEFT_OUT, "value": text, "type": "text", "description": "of MLflow's artifacts"}


def item_name(item: Mapping[str, str]) -> str:
    """Return what a hyperparameter is called where it is refused."""
    return f"{item['name'][:100]!r} of section {item['section']}"


def refused(reasons: Mapping[str, str], more: int) -> dict[str, str]:
    """Return the configuration object that says what ClearML has refused of the run, a line each."""
    lines = [f"{what}: {why}" for what, why in reasons.items()]
    text = "\n".join([*lines, *([f"and {more} more"] if more else [])])
    return {"name": REFUSED, "value": text, "type": "text", "description": "by the ClearML server"}


def project_name(settings: Settings, run: RunStarted, process: ProcessStarted | None) -> str:
    """Return the ClearML project of a run; slashes of the experiment's name make nested projects."""
    user = run.tags.get("mlflow.user") or (process.user if process else "")
    name = settings.project.format(experiment=run.experiment_name, user=user, script=_script(run, process))
    segments = [acceptable(segment) for segment in name.split("/") if segment.strip()]
    return "/".join(segments[:9]) or "MLflow"  # projects nest ten deep at most, and `.reports` takes one


def task_name(settings: Settings, run: RunStarted, process: ProcessStarted | None) -> str:
    """Return the name of the run's Task."""
    name = settings.task.format(
        run_name=run.run_name or run.run_id,
        run_id=run.run_id,
        experiment=run.experiment_name,
        script=_script(run, process),
    )
    return acceptable(name)


def acceptable(name: str) -> str:
    """Return the name as ClearML takes it: stripped, three characters at least, without control characters."""
    name = storable.text(re.sub(r"[\x00-\x1f]+", " ", name)).strip()
    return name if len(name) >= _SHORTEST else f"{name}".ljust(_SHORTEST, "_")


def hyperparameter(section: str, name: str, value: str, kind: str = "", description: str = "") -> dict[str, str]:
    """Return one item of a hyperparameter section; values are always strings (others are refused, 400/12)."""
    item = {"section": section, "name": storable.name(name), "value": storable.text(value)}
    if kind:
        item["type"] = kind
    if description:
        item["description"] = description
    return item


def parameters(values: Iterable[Param]) -> list[dict[str, str]]:
    """Return the run's parameters as items of the section `MLflow`."""
    return [
        hyperparameter(SECTION, key, hide_named(key, value), _PARAM_TYPES.get(kind, kind), _RECORD)
        for key, value, kind in values
    ]


def tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the run's tags as items of the section `MLflow tags`; the note is the comment, and the links are ours."""
    return [
        hyperparameter(TAGS_SECTION, key, hide_named(key, value), "str")
        for key, value in values.items()
        if key != NOTE and not key.startswith("clearml.")
    ]


def arguments(values: Iterable[Param]) -> list[dict[str, str]]:
    """Return the command line as items of the section `Args`, and Hydra's overrides as those of `Hydra`."""
    return [
        hyperparameter(HYDRA[:-1], key.removeprefix(HYDRA), value, kind)
        if key.startswith(HYDRA)
        else hyperparameter(ARGUMENTS, key, value, kind)
        for key, value, kind in values
    ]


def properties(run: RunStarted, adopted: str = "", *, ended_ms: int = 0) -> list[dict[str, str]]:
    """Return the user properties that lead back to the run, and say when it ran.

    ClearML dates a Task by its own clock: its start is when it was told of it, and the last one where it was resumed.

    Args:
        run: the run.
        adopted: the id of the Task where the run has taken it over: the Task says so later on, and may have a name of
            its own.
        ended_ms: when it ended, as MLflow has it, 0 where it has not.
    """
    values = {
        "mlflow_run_id": run.run_id,
        "mlflow_experiment": run.experiment_name,
        "mlflow_tracking_uri": without_credentials(run.tracking_uri),
        "mlflow_run_url": run.run_url,
        **as_properties(run.tags),
        "mlflow_run_started": _time(run.start_time_ms),
        ENDED: _time(ended_ms),
    }
    if run.run_name and (adopted or acceptable(run.run_name) != run.run_name):
        values["mlflow_run_name"] = run.run_name
    values[ADOPTED] = adopted
    return [hyperparameter("properties", name, value, "str") for name, value in values.items() if value]


def origin(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that say where a Task's run comes from, as the Task itself keeps them."""
    properties = (task.get("hyperparams") or {}).get("properties") or {}
    return from_properties({name: str(item.get("value") or "") for name, item in properties.items()})


def end_time(ended_ms: int) -> list[dict[str, str]]:
    """Return the user property that says when a run has ended; none where that is not known."""
    return [hyperparameter("properties", ENDED, text, "str")] if (text := _time(ended_ms)) else []


def _time(time_ms: int) -> str:
    """Return a time in ISO 8601, "" for none; MLflow takes any number for one."""
    try:
        return (
            datetime.fromtimestamp(time_ms / 1000, timezone.utc).isoformat(timespec="milliseconds") if time_ms else ""
        )
    except (OverflowError, OSError, ValueError):
        return ""


def sections(items: Iterable[Mapping[str, str]]) -> dict[str, dict[str, Mapping[str, str]]]:
    """Return hyperparameter items as `tasks.create` takes them: by section, then by name."""
    by_section: dict[str, dict[str, Mapping[str, str]]] = {}
    for item in items:
        by_section.setdefault(item["section"], {})[item["name"]] = item
    return by_section


def link_artifact(run: RunStarted) -> list[dict[str, Any]]:
    """Return the artifact that is a link to the run's page; the web UI makes no other field of a Task clickable."""
    if not run.run_url:
        return []
    return [_link(LINK, run.run_url, run, [["MLflow run", run.run_id], ["MLflow experiment", run.experiment_name]])]


def _link(key: str, url: str, run: RunStarted, shown: list[list[str]]) -> dict[str, Any]:
    return {
        "key": key,
        "type": "custom",
        "mode": "output",
        "uri": url,
        "content_size": 0,
        "timestamp": run.start_time_ms // 1000,
        "type_data": {"preview": url, "content_type": "text/html"},
        "display_data": shown,
    }


def datasets(values: Iterable[Dataset]) -> list[dict[str, str]]:
    """Return the run's data sets as one configuration object: a JSON list, in which MLflow's JSON texts are objects."""
    room = _DATASETS
    described: list[Any] = []
    for dataset in values:
        item: dict[str, Any] = {name: dataset[name] for name in ("name", "digest", "source_type")}
        for field in ("source", "schema", "profile"):
            if dataset[field]:
                item[field] = _read(dataset[field], room)
                room -= min(len(dataset[field]), _LONGEST)
        described.append({**item, "tags": dataset["tags"]})
    text = json.dumps(described, indent=2, ensure_ascii=False)
    return [{"name": "MLflow datasets", "value": text, "type": "json", "description": "data sets of the MLflow run"}]


def _read(text: str, room: int) -> Any:
    """Return what a JSON text says, without credentials in addresses; what is too long for a Task, as its length."""
    if len(text) > min(_LONGEST, room):
        return f"{len(text)} characters, left out"
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: {key: _clean(value) for key, value in pairs})
    except ValueError:
        return _clean(text)


def _clean(value: Any) -> Any:
    return without_credentials(value) if isinstance(value, str) else value


def traces(logged: TracesLogged) -> list[dict[str, str]]:
    """Return the number of the run's traces as a user property."""
    return [hyperparameter("properties", "mlflow_traces", f"{logged.traces}{'+' if logged.more else ''}", "str")]


def traces_artifact(run: RunStarted, logged: TracesLogged) -> list[dict[str, Any]]:
    """Return the artifact that is a link to the run's traces, where it has a page."""
    if not run.run_url:
        return []
    return [_link("MLflow traces", f"{run.run_url}/traces", run, [["traces", traces(logged)[0]["value"]]])]


def scalar(task_id: str, point: Point) -> dict[str, Any] | None:
    """Return a metric point as an event, None where ClearML cannot hold its value or its step.

    The event store keeps float32 and refuses NaN and infinities (500/100); a false number is never sent instead.
    `a/b/loss` is title `a/b` and series `loss`; a name without a slash is both.
    """
    key, value, timestamp_ms, step = point
    if not is_storable(value) or not -(2**63) <= step < 2**63:
        return None
    title, series = curve(key)
    return {
        "type": "training_stats_scalar",
        "task": task_id,
        "iter": step,
        "timestamp": timestamp_ms,
        "metric": title,
        "variant": series,
        "value": value,
    }


def points_left_out(points: Iterable[Sequence[str]], more: int) -> dict[str, str]:
    """Return the configuration object that lists points which the curves do not hold.

    Args:
        points: metric, step, time in ms, value and reason of each.
        more: how many others there are.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("metric", "step", "timestamp_ms", "value", "reason"))
    table.writerows(points)
    if more:
        text.write(f"# and {more} more\n")
    return {"name": LEFT_OUT, "value": text.getvalue(), "type": "csv", "description": "points that no curve holds"}


def curve(key: str) -> tuple[str, str]:
    """Return title and series of a metric.

    MLflow's system metrics (mlflow 2.16 to 3.17) are charted by quantity and unit, as in `system disk (megabytes)`,
    percentages together, as in `system (percentage)`: on one chart, bytes would flatten everything else. No metric's
    own name gives such a title, since MLflow takes no parentheses in names.
    """
    key = storable.name(key)
    title, series = split(key)
    if system := _SYSTEM.fullmatch(key):
        quantity = "" if system["unit"] == "percentage" else f" {system['quantity']}"
        title = f"{title}{quantity} ({system['unit']})"
    return title, series


def split(name: str) -> tuple[str, str]:
    """Return title and series of a name: what is before its last slash and behind it; a name without one is both."""
    title, slash, series = name.rpartition("/")
    return (title, series) if slash and title and series else (name, name)


def is_storable(value: float) -> bool:
    """Tell whether a value can be stored in a curve: finite, and within float32."""
    if not math.isfinite(value):
        return False
    try:
        struct.pack("<f", value)
    except OverflowError:
        return False
    return True


def log(task_id: str, worker: str, stream: str, text: str, timestamp_ms: int) -> dict[str, Any]:
    """Return console text as an event; stderr has the level that the SDK gives it."""
    return {
        "type": "log",
        "task": task_id,
        "level": "error" if stream == "stderr" else "info",
        "worker": worker,
        "msg": text,
        "timestamp": timestamp_ms,
    }


def _script(run: RunStarted, process: ProcessStarted | None) -> str:
    source = (process.main_module or process.main_path) if process else run.tags.get("mlflow.source.name", "")
    return PurePath(source).stem if "/" in source or source.endswith(".py") else source
