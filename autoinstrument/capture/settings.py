"""Settings of ClearML's configuration for the description of a training process."""

from __future__ import annotations

from autoinstrument.named_tuple import NamedTuple


class CaptureSettings(NamedTuple):
    """Settings of ClearML's section `sdk.development`, with the SDK's defaults (clearml 1.16 to 2.1.12)."""

    stored: bool = True
    """`store_uncommitted_code_diff`: if it is false, the Task has no code, as with the SDK: no changes, no notebook,
    and no script without a repository."""
    from_remote: bool = False
    """`store_code_diff_from_remote`: the diff is that since the newest commit that the remote has."""
    pip_freeze: bool = False
    """`detect_with_pip_freeze`: an agent installs all packages, not those that the process uses."""
    variables: tuple[str, ...] = ()
    """`log_os_environments`: the environment variables that a Task shows, see `capture.environment_variables`."""
