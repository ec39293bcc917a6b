"""What the server refuses for good keeps nothing else from being delivered: it is found and left out by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from autoinstrument.guard import logger
from autoinstrument.to_clearml.errors import RefusedError

Item = TypeVar("Item")


def send_each(send: Callable[[list[Item]], None], items: Sequence[Item], name: Callable[[Item], str]) -> None:
    """Send items together; where they are refused, by halves, down to the ones that are to blame.

    Args:
        send: sends some of the items.
        items: what is to be sent; nothing is done for none.
        name: what an item is called in the log.

    Raises:
        ClearMLError: the server did not answer, or the Task is gone.
    """
    if not items:
        return
    try:
        send(list(items))
    except RefusedError as error:
        if error.is_gone:
            raise
        if len(items) == 1:
            logger().warning("ClearML refuses %s, which is left out: %s", name(items[0]), error)
            return
        middle = len(items) // 2
        send_each(send, items[:middle], name)
        send_each(send, items[middle:], name)
