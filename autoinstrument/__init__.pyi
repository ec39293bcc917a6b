"""The public interface, for scripts that want more than `AUTOINSTRUMENT_ENABLED=1`."""

from autoinstrument.agent.public import is_active as is_active
from autoinstrument.agent.public import task_of as task_of
from autoinstrument.agent.public import wait_delivered as wait_delivered

__version__: str

def load_ipython_extension(shell: object) -> None:
    """Switch the agent on for this kernel and its child processes: `%load_ext autoinstrument` in a cell."""

def init() -> None:
    """Arm the agent if `AUTOINSTRUMENT_ENABLED` is on; calling it again changes nothing.

    Start-up files do this. It is for programs that Python starts without them, before or after they import MLflow.
    """
