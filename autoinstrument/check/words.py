"""The outcome of a check in words."""

from __future__ import annotations

from collections.abc import Iterator

from autoinstrument.check.comparison import CheckReport

_MOST = 20
_LONGEST = 300


def as_words(outcome: CheckReport) -> Iterator[str]:
    """Yield the lines of a report for a person."""
    for difference in outcome.differences[:_MOST]:
        yield difference.what
        yield f"  without the agent: {_shown(difference.off)}"
        yield f"  with the agent:    {_shown(difference.on)}"
    if len(outcome.differences) > _MOST:
        yield f"and {len(outcome.differences) - _MOST} more (--json has them all)"
    if outcome.varying:
        more = f" and {len(outcome.varying) - _MOST} more" if len(outcome.varying) > _MOST else ""
        yield f"not compared, for it varies without the agent too: {'; '.join(outcome.varying[:_MOST])}{more}"
    if not outcome.probed:
        yield "not looked into: the process's state (no Python, no PYTHONPATH, or it ended by a signal or os._exit)"
    if outcome.problem:
        yield f"not compared, because the store cannot be read: MLflow's runs ({outcome.problem})"
    elif not outcome.runs:
        yield "no MLflow run of it was found, so the agent had little to do"
    runs = f"{outcome.runs} MLflow {'run' if outcome.runs == 1 else 'runs'}"
    same = outcome.compared - len(outcome.differences)
    yield f"{same} facts are the same, {len(outcome.differences)} differ ({runs})"


def _shown(value: str | None) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
