"""Find the items of a request that a server refuses for good, and deliver the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from autoinstrument.to_clearml.errors import RefusedError

Item = TypeVar("Item")

_MOST_REFUSALS = 64
"""Refusals of one request after which all that is left of it counts as refused: the server wants none of it."""


def send_each(
    items: Sequence[Item], send: Callable[[Sequence[Item]], None], *, pass_on: tuple[tuple[int, int], ...] = ()
) -> list[tuple[Item, RefusedError]]:
    """Send items in one request; where that is refused, in halves, until those that are refused stand alone.

    What `send` does must be harmless when it is done twice. One bad item among 2,000 costs 22 requests more.

    Args:
        items: what is to be sent.
        send: sends some of them.
        pass_on: codes of refusals that are not about any one item.

    Returns:
        The items that were refused, with the reason.

    Raises:
        ClearMLError: the server did not answer, or refused with one of `pass_on`.
    """
    refused: list[tuple[Item, RefusedError]] = []
    refusals = 0
    waiting = [items] if items else []
    while waiting:
        some = waiting.pop()
        try:
            send(some)
        except RefusedError as error:
            if error.code in pass_on:
                raise
            refusals += 1
            if len(some) == 1 or refusals > _MOST_REFUSALS:
                refused += [(item, error) for item in some]
            else:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]
    return refused
