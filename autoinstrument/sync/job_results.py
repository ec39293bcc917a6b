"""Results of the jobs that a follower has handed out, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, as_completed
from typing import TypeVar

from autoinstrument.clearml_api.errors import FilesUnavailableError, UnavailableError

_HOPELESS = 3
"""Jobs in a row to which the server did not answer, before the rest is left to the next look."""
_Result = TypeVar("_Result")
_Subject = TypeVar("_Subject")


def results_of(jobs: Mapping[Future[_Result], _Subject]) -> Iterator[tuple[_Subject, _Result | Exception]]:
    """Yield the subject of each job with the job's result, or with its error.

    Raises:
        UnavailableError: ClearML's server did not answer to several jobs in a row.
    """
    failures = 0
    try:
        for future in as_completed(jobs):
            try:
                result: _Result | Exception = future.result()
                failures = 0
            except Exception as error:  # the job's own
                failures += isinstance(error, UnavailableError) and not isinstance(error, FilesUnavailableError)
                if failures >= _HOPELESS:
                    raise
                result = error
            yield jobs[future], result
    finally:
        for future in jobs:
            future.cancel()
