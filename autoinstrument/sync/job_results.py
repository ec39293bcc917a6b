"""Results of the jobs that a follower has handed out, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, as_completed
from typing import TypeVar

from autoinstrument.clearml_api.errors import ClearMLError
from autoinstrument.sync.failures import GivingUp

_Result = TypeVar("_Result")
_Subject = TypeVar("_Subject")


def results_of(jobs: Mapping[Future[_Result], _Subject]) -> Iterator[tuple[_Subject, _Result | Exception]]:
    """Yield the subject of each job with the job's result, or with its error.

    Raises:
        ClearMLError: `GivingUp` says that trying further jobs is useless; they are left to the next look.
    """
    giving_up = GivingUp()
    try:
        for future in as_completed(jobs):
            try:
                result: _Result | Exception = future.result()
                giving_up.succeeded()
            except Exception as error:  # the job's own
                if isinstance(error, ClearMLError):
                    giving_up.failed(error)
                if giving_up.reason:
                    raise
                result = error
            yield jobs[future], result
    finally:
        for future in jobs:
            future.cancel()
