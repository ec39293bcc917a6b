"""Search for the Tasks of single runs on several threads, in common requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

_Found = list[dict[str, Any]]


class _Search:
    def __init__(self) -> None:
        self.run_ids: list[str] = []
        self.found: Future[dict[str, _Found]] = Future()


class JointSearches:
    """One search at a time; runs that are looked for meanwhile are looked for together in the next one.

    A worker whose machine is overloaded, or that has been cut off from the server, looks for the Tasks of many runs at
    once.
    """

    def __init__(self, search: Callable[[Sequence[str]], dict[str, _Found]]) -> None:
        """Begin with a function that returns the Tasks of some runs, by run id."""
        self._search = search
        self._changed, self._turn = threading.Lock(), threading.Lock()
        self._next = _Search()

    def of_run(self, run_id: str) -> _Found:
        """Return the Tasks of a run, as they are after this call; raises as the given function does."""
        with self._changed:
            search = self._next
            is_first = not search.run_ids
            search.run_ids.append(run_id)
        if is_first:
            with self._turn:
                with self._changed:
                    self._next = _Search()
                try:
                    search.found.set_result(self._search(search.run_ids))
                except BaseException as error:  # for all threads that wait for it
                    search.found.set_exception(error)
        return search.found.result().get(run_id, [])
