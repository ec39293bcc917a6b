"""Keep the agent's frames out of the tracebacks of the user's exceptions.

Imports nothing: argparse is instrumented in processes that import little else.
"""


def leave_out_frame(error):
    # type: (BaseException) -> None
    """Take the frame that caught an exception out of its traceback; call it before a bare `raise`, which adds none.

    `__context__` and `__cause__` stay. Python 3.10 raises the traceback that it had before, which keeps the frame.
    """
    traceback = error.__traceback__
    if traceback is not None:
        error.__traceback__ = traceback.tb_next


class _UsersCall:
    """Context for the user's own call inside a wrapper: its exceptions pass as if there were no wrapper."""

    __slots__ = ()

    def __enter__(self):
        # type: () -> None
        return None

    def __exit__(self, kind, error, traceback):
        # type: (object, BaseException | None, object) -> None
        if error is not None:
            leave_out_frame(error)


users_call = _UsersCall()
