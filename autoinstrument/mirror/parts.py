"""The parts of one run. One whose own code fails on the run's data is left out, and named; the others go on."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from autoinstrument.clearml_api.errors import ClearMLError, OwnError, described
from autoinstrument.guard import count, logger, swallow
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import Kind, RunPart

Part = TypeVar("Part", bound=RunPart)
Result = TypeVar("Result")

_OF_MACHINE = (MemoryError, OSError)
_OF_DATA = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def is_of_data(error: Exception) -> bool:
    """Return True for an error that code meets in data which it does not expect.

    Drivers of MLflow's store raise others if it is away; a page of a gateway is no JSON.
    """
    return isinstance(error, _OF_DATA) and not isinstance(error, (OSError, json.JSONDecodeError))


class Parts:
    """The parts of one run, in the order of their kinds; those that are left out are passed over.

    A call of a part that fails is made once more: it may have met another thread. Then the part is left out. The parts
    without which the Task is of no use (`RunPart.is_needed`) are not: the run waits then, and is tried again.
    """

    def __init__(self, context: RunContext, kinds: Iterable[Kind]) -> None:
        """Make the parts; none of the run's data is known yet."""
        self._context = context
        self._kinds = {kind.part(context): kind for kind in kinds}
        self.left_out: list[str] = []
        """Names of the kinds that are left out."""
        self._in_use = list(self._kinds)
        context.events.call_by(self.attempt)

    def __iter__(self) -> Iterator[RunPart]:
        return iter(self._in_use.copy())

    def of(self, part: type[Part]) -> Part:
        """Return a part by its class, also if it is left out."""
        return next(each for each in self._kinds if isinstance(each, part))

    def with_kinds(self) -> list[tuple[Kind, RunPart]]:
        """Return the parts with their kinds."""
        return [(self._kinds[part], part) for part in self]

    def take(self, call: Callable[[RunPart], object]) -> bool:
        """Call each part with a record; return False if one has failed, which then lacks it."""
        is_taken = True
        for part in self:
            try:
                call(part)
            except Exception as error:
                swallow(f"taking a run's {self._kinds[part].name}", error)
                is_taken = False
        return is_taken

    def states(self, state: Callable[[RunPart], Result]) -> list[Result]:
        """Return one property of each part; see `attempt` for the errors."""
        try:
            return [state(part) for part in self]  # asked for again and again: only after an error, part by part
        except Exception:
            found = [self.attempt(part, functools.partial(state, part)) for part in self]
            return [each for each in found if each is not None]

    def each(self, call: Callable[[RunPart], object]) -> None:
        """Call each part; see `attempt` for the errors."""
        for part in self:
            self.attempt(part, functools.partial(call, part))

    def attempt(self, part: RunPart, call: Callable[[], Result]) -> Result | None:
        """Make a call of a part, and return its result; None if the part fails, which is left out from then on.

        Raises:
            ClearMLError: what the call raises of it; `OwnError` if this machine is at fault, or the part is needed.
        """
        try:
            return self._twice(part, call, lambda error: not isinstance(error, _OF_MACHINE))
        except ClearMLError:
            raise
        except Exception as error:
            raise OwnError(f"sending the run's {self._kinds[part].name}", error) from error

    def attempt_to_read(self, part: RunPart, call: Callable[[], None]) -> None:
        """Let a part take what MLflow's store holds; it is left out if its code, or MLflow's, fails on the data.

        Raises:
            Exception: the store does not answer; it raises what its driver raises.
            ClearMLError: the server did not take everything.
        """
        self._twice(part, call, is_of_data)

    def _twice(
        self, part: RunPart, call: Callable[[], Result], is_its_own: Callable[[Exception], bool]
    ) -> Result | None:
        for is_again in (False, True):
            try:
                return call()
            except ClearMLError:
                raise
            except Exception as error:
                if not is_its_own(error) or (is_again and part.is_needed):
                    raise
                if is_again:
                    self._leave_out(part, error)
        return None

    def _leave_out(self, part: RunPart, error: Exception) -> None:
        name, run_id, reason = self._kinds[part].name, self._context.run.run_id, described(error)
        if part not in self._in_use:
            return
        self.left_out.append(name)
        self._in_use.remove(part)
        self._context.events.remove(part)
        count(f"mirroring a run's {name}", error)
        logger().warning("run %s: its data of kind %r is left out: autoinstrument failed with %s", run_id, name, reason)
        logger().debug("run %s", run_id, exc_info=error)
        self._context.rejections.leave_out(f"all data of kind {name!r}", f"autoinstrument failed with {reason}")
