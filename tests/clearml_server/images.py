"""Reading plots, debug images and vectors back (06_events; paging is only indicative)."""

from __future__ import annotations

from .envelope import Doc
from .event_reads import events_of
from .registry import Call, endpoint
from .schema import REQUIRED, REQUIRED_STR
from .state import State, new_id

_IMAGE = "training_debug_image"


def _latest(events: list[Doc], count: int) -> list[Doc]:
    """The events of the last `count` iterations of each metric and variant, newest first."""
    kept: list[Doc] = []
    seen: dict[tuple[str, str], list[int]] = {}
    for event in sorted(events, key=lambda event: event.get("iter") or 0, reverse=True):
        iterations = seen.setdefault((event["metric"], event["variant"]), [])
        if event.get("iter") not in iterations:
            iterations.append(event.get("iter") or 0)
        if len(iterations) <= count:
            kept.append(event)
    return kept


@endpoint("events.get_task_plots", {"task": REQUIRED_STR}, version="1.8")
def get_task_plots(state: State, call: Call) -> Doc:
    plots = _latest(events_of(state, call.data["task"], "plot"), call.data.get("iters") or 1)
    return {"plots": plots, "returned": len(plots), "total": len(plots), "scroll_id": None}


@endpoint("events.get_multi_task_plots", {"tasks": REQUIRED}, version="1.8")
def get_multi_task_plots(state: State, call: Call) -> Doc:
    plots: Doc = {}
    count = 0
    for task_id in call.data["tasks"]:
        for event in _latest(events_of(state, task_id, "plot"), call.data.get("iters") or 1):
            of_task = plots.setdefault(event["metric"], {}).setdefault(event["variant"], {}).setdefault(task_id, {})
            shown = of_task.setdefault(str(event.get("iter")), {"name": state.tasks[task_id]["name"], "plots": []})
            shown["plots"].append(event)
            count += 1
    return {"plots": plots, "returned": count, "total": count, "scroll_id": "scroll-" + new_id()}


def _by_iteration(state: State, call: Call, kind: str) -> Doc:
    answer = []
    for wanted in call.data["metrics"]:
        events = [
            event
            for event in events_of(state, wanted["task"], kind)
            if wanted.get("metric") in (None, event["metric"])
            and (not wanted.get("variants") or event["variant"] in wanted["variants"])
        ]
        if call.data.get("scroll_id"):  # the first page had them all
            events = []
        iterations: dict[int, list[Doc]] = {}
        for event in _latest(events, call.data.get("iters") or 1):
            iterations.setdefault(event.get("iter") or 0, []).append(event)
        shown = [{"iter": number, "events": found} for number, found in sorted(iterations.items(), reverse=True)]
        answer.append({"iterations": shown, "task": wanted["task"]})
    return {"metrics": answer, "scroll_id": call.data.get("scroll_id") or new_id()}


@endpoint("events.plots", {"metrics": REQUIRED})
def plots(state: State, call: Call) -> Doc:
    return _by_iteration(state, call, "plot")


@endpoint("events.debug_images", {"metrics": REQUIRED}, version="2.7")
def debug_images(state: State, call: Call) -> Doc:
    return _by_iteration(state, call, _IMAGE)


@endpoint(
    "events.get_debug_image_sample",
    {"task": REQUIRED_STR, "metric": REQUIRED_STR, "variant": REQUIRED_STR},
    version="2.12",
)
def get_debug_image_sample(state: State, call: Call) -> Doc:
    wanted = (call.data["metric"], call.data["variant"])
    events = [
        event for event in events_of(state, call.data["task"], _IMAGE) if (event["metric"], event["variant"]) == wanted
    ]
    iterations = [event["iter"] for event in events]
    answer: Doc = {"scroll_id": call.data.get("scroll_id") or new_id(), "event": None}
    if iterations:
        number = call.data.get("iteration", max(iterations))
        answer |= {"event": next((event for event in events if event["iter"] == number), None)}
        answer |= {"min_iteration": min(iterations), "max_iteration": max(iterations)}
    return answer


@endpoint("events.get_vector_metrics_and_variants", {"task": REQUIRED_STR})
def get_vector_metrics_and_variants(state: State, call: Call) -> Doc:
    found: dict[str, list[str]] = {}
    for event in events_of(state, call.data["task"], "training_stats_vector"):
        names = found.setdefault(event["metric"], [])
        if event["variant"] not in names:
            names.append(event["variant"])
    return {"metrics": found}


@endpoint(
    "events.vector_metrics_iter_histogram",
    {"task": REQUIRED_STR, "metric": REQUIRED_STR, "variant": REQUIRED_STR},
)
def vector_metrics_iter_histogram(state: State, call: Call) -> Doc:
    metric, variant = call.data["metric"], call.data["variant"]
    events = [
        event
        for event in events_of(state, call.data["task"], "training_stats_vector")
        if (event["metric"], event["variant"]) == (metric, variant)
    ]
    vectors, iterations = [event.get("values") for event in events], [event.get("iter") for event in events]
    return {"metric": metric, "variant": variant, "vectors": vectors, "iterations": iterations}
