"""A follower gives a look up if the server does not answer to several jobs in a row."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from autoinstrument.clearml_api.errors import FilesUnavailableError, NotAllowedError, UnavailableError
from autoinstrument.sync.job_results import results_of


def done(*results: object) -> dict[Future[object], int]:
    jobs: dict[Future[object], int] = {}
    for number, result in enumerate(results):
        future = Future[object]()
        future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)
        jobs[future] = number
    return jobs


def test_an_error_of_one_job_is_its_result() -> None:
    error, away, files = ValueError("bad"), UnavailableError("away"), FilesUnavailableError("no files")
    jobs = done("good", error, away, away, *[files] * 5)
    assert dict(results_of(jobs)) == {0: "good", 1: error, 2: away, 3: away, **dict.fromkeys(range(4, 9), files)}


def test_a_server_that_is_away_ends_it() -> None:
    jobs, waiting = done(*[UnavailableError("away")] * 3), Future[object]()
    jobs[waiting] = 3
    with pytest.raises(UnavailableError, match="away"):
        list(results_of(jobs))
    assert waiting.cancelled()


def test_refused_credentials_end_it_at_once() -> None:
    """`sync` gives up by the same rule."""
    with pytest.raises(NotAllowedError):
        list(results_of(done(NotAllowedError("wrong credentials"), "good")))
