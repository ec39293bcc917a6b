"""Map a run's traces to ClearML: a table as plot and as CSV, histograms of scores, curves and totals."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from autoinstrument.clearml_api import storable
from autoinstrument.mirror.mapping.pictures import MAX_PLOT, Place, event
from autoinstrument.mirror.mapping.scalars import scalar, single_value
from autoinstrument.mirror.mapping.tables import histogram, table
from autoinstrument.named_tuple import NamedTuple
from autoinstrument.records import RunStarted, Trace, TracesLogged
from autoinstrument.scrubber import hidden_in, hide_in_json, hide_named

TITLE, SCORES = "MLflow traces", "MLflow assessments"
"""Titles of the plots and curves; no metric has them, because these series have parentheses in their names."""
SERIES = "table"
_LONGEST_CELL = 500
"""Characters of a cell of the plot; the CSV has the whole text."""
_MOST_NAMES = 100
"""Assessments of different names that get columns and histograms."""
_TOTALS = {
    "input_tokens": "input tokens (traces)",
    "output_tokens": "output tokens (traces)",
    "total_tokens": "total tokens (traces)",
    "cost_usd": "cost in USD (traces)",
    "mean_latency_ms": "mean latency in ms (traces)",
    "error_rate": "error rate (traces)",
}
"""Names of single values by that of the total."""
_ID, _LINK = "trace_id", "page"
"""Names of columns."""


class TraceTable(NamedTuple):
    """The traces that are shown one by one, without secrets; columns that would be empty are left out."""

    columns: list[str]
    rows: list[list[Any]]
    """Texts, numbers and truth values, "" for none; the first column is the trace's id, which is not empty."""
    of: int
    """How many traces there are."""

    def as_csv(self) -> str:
        """Return the table as CSV, which pandas reads with the first column as index."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return storable.text(text.getvalue())


def traces_page(run_url: str, trace_id: str = "") -> str:
    """Return the address of the page of a run's traces, or of one of them (MLflow 3); "" if the run has no page."""
    page, _, query = run_url.partition("?")
    chosen = [f"selectedEvaluationId={quote(trace_id, safe='')}"] if trace_id else []
    more = "&".join([*chosen, *([query] if query else [])])
    return f"{page}/traces{'?' if more else ''}{more}" if page else ""


def trace_table(logged: TracesLogged, run: RunStarted) -> TraceTable:
    """Return the table of a run's traces."""
    names = _names(logged.rows)
    rows = [_row(trace, names, run) for trace in logged.rows]
    columns = [column for column in (rows[0] if rows else ()) if any(row[column] != "" for row in rows)]
    return TraceTable(columns or [_ID], [[row[column] for column in columns] for row in rows], logged.traces)


def _names(rows: Sequence[Trace]) -> list[str]:
    """Return the names of the assessments, expectations last."""
    found = {each["name"]: each["is_expectation"] for trace in rows for each in trace["assessments"]}
    return sorted(found, key=lambda name: (found[name], name))[:_MOST_NAMES]


def _row(trace: Trace, names: Sequence[str], run: RunStarted) -> dict[str, Any]:
    row: dict[str, Any] = {
        _ID: trace["trace_id"],
        "time": _time(trace["time_ms"]),
        "status": trace["status"],
        "latency_ms": "" if trace["latency_ms"] is None else trace["latency_ms"],
        "request": hide_in_json(trace["request"]),
        "response": hide_in_json(trace["response"]),
    }
    for name in names:
        given = [each for each in trace["assessments"] if each["name"] == name]
        values = [hidden_in(each["value"]) for each in given if each["value"] is not None]
        row[f"{name}/value"] = _joined(values)
        row[f"{name}/rationale"] = _joined([hide_in_json(each["rationale"]) for each in given if each["rationale"]])
    tags = {name: hide_named(name, value) for name, value in trace["tags"].items()}
    return {
        **row,
        **{name: trace["tokens"].get(name, "") for name in ("input_tokens", "output_tokens", "total_tokens")},
        "cost_usd": "" if trace["cost_usd"] is None else trace["cost_usd"],
        "tags": json.dumps(tags, ensure_ascii=False) if tags else "",
        _LINK: traces_page(run.run_url, trace["trace_id"]),
    }


def _joined(values: Sequence[Any]) -> Any:
    """Return one value as it is, and several, as of a judge and a person, as one text."""
    shown = [json.dumps(value) if isinstance(value, bool) else value for value in values]
    if not shown:
        return ""
    return shown[0] if len(shown) == 1 else "; ".join(str(value) for value in shown)


def _time(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, timezone.utc).isoformat(timespec="milliseconds")
    except (OverflowError, OSError, ValueError):
        return ""


def plots(task_id: str, logged: TracesLogged, shown: TraceTable, time_ms: int) -> Iterator[dict[str, Any]]:
    """Yield the events of the table and of the histograms, one for each name of a score."""
    yield event("plot", task_id, Place(TITLE, SERIES, 0, 0), time_ms, plot_str=_table_text(shown))
    for name in _names(logged.rows):
        given = [each for trace in logged.rows for each in trace["assessments"] if each["name"] == name]
        values = [hidden_in(each["value"]) for each in given if not each["is_expectation"]]
        if figure := histogram([value for value in values if value is not None], name):
            text = json.dumps(figure, separators=(",", ":"))
            yield event("plot", task_id, Place(SCORES, name, 0, 0), time_ms, plot_str=text)


def _table_text(shown: TraceTable) -> str:
    """Return the table's figure, with as many rows as fit into a plot."""
    columns = [column for column in shown.columns if column != _LINK]
    rows = [_cells(shown.columns, row) for row in shown.rows]
    while True:
        text = json.dumps(table(columns, rows, TITLE, of=shown.of), separators=(",", ":"))
        if len(text) <= MAX_PLOT or len(rows) <= 1:
            return text
        rows = rows[: max(1, int(len(rows) * 0.9 * MAX_PLOT / len(text)))]


def _cells(columns: Sequence[str], row: Sequence[Any]) -> list[Any]:
    """Return a row as plotly takes it, in whose texts a few tags of HTML count; the id leads to the trace's page."""
    values = dict(zip(columns, row, strict=True))
    cells = {column: _escaped(value) for column, value in values.items() if column != _LINK}
    if link := values.get(_LINK):
        cells[_ID] = f'<a href="{html.escape(link)}">{cells[_ID]}</a>'
    return list(cells.values())


def _escaped(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value if len(value) <= _LONGEST_CELL else f"{value[:_LONGEST_CELL]}…"
    return html.escape(text, quote=False).replace("\n", "<br>")


def points(task_id: str, logged: TracesLogged) -> Iterator[dict[str, Any]]:
    """Yield the points of the curves: what each trace took, over their order, and the share of errors until then."""
    errors = ended = 0
    for number, trace in enumerate(logged.rows, 1):
        has_ended = trace["status"] in ("OK", "ERROR")
        ended, errors = ended + has_ended, errors + (trace["status"] == "ERROR")
        values = {
            "latency (ms)": trace["latency_ms"],
            "total tokens (count)": trace["tokens"].get("total_tokens"),
            "cost (USD)": trace["cost_usd"],
            "error rate (so far)": errors / ended if has_ended else None,
        }
        for series, value in values.items():
            if value is not None:
                point = (f"{TITLE}/{series}", float(value), trace["time_ms"], number)
                if found := scalar(task_id, point, "prefix"):
                    yield found


def totals(logged: TracesLogged) -> dict[str, float]:
    """Return the single values of a run's traces by their names in ClearML."""
    return {_TOTALS[name]: value for name, value in logged.totals.items() if name in _TOTALS}


def single_values(task_id: str, logged: TracesLogged, time_ms: int) -> list[dict[str, Any]]:
    """Return the events that make `totals` single values."""
    return [single_value(task_id, (name, value, time_ms, 0)) for name, value in totals(logged).items()]
