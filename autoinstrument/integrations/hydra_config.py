"""Learn the configuration that Hydra gives to the job that it runs; seen in Hydra 1.1 to 1.3."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any

from autoinstrument.scrubber import hide, hide_in_arguments, is_secret
from autoinstrument.tracebacks import users_call

_LONGEST = 512 * 1024
_current: list[Any] = []
"""The configuration of the present job, and its text once somebody has asked for it."""


def watch(utils: Any) -> None:
    """Remember from now on the configuration of each job.

    Args:
        utils: the module `hydra.core.utils`; its `run_job` is replaced by a plain function with the same result.
    """
    original = utils.run_job
    if getattr(original, "_autoinstrument", False):
        return

    @functools.wraps(original)
    def run_job(*arguments: Any, **named: Any) -> Any:
        given = [*arguments, *named.values()]
        _current[:] = [value for value in given if type(value).__name__ == "DictConfig"][:1]
        with users_call:
            return original(*arguments, **named)

    run_job._autoinstrument = True  # type: ignore[attr-defined]
    utils.run_job = run_job


def configuration() -> str:
    """Return the job's configuration as YAML without Hydra's own part and with secrets hidden, "" for none.

    Interpolations stay as they are, as in ClearML's binding (2.1.12): to resolve them may run user code, or show a
    variable of the environment.
    """
    omegaconf: Any = sys.modules.get("omegaconf")
    if not _current or omegaconf is None:
        return ""
    if len(_current) == 1:
        text = ""
        with contextlib.suppress(Exception):  # of the user's own types
            values = omegaconf.OmegaConf.to_container(_current[0], resolve=False, enum_to_str=True)
            values.pop("hydra", None)
            text = omegaconf.OmegaConf.to_yaml(omegaconf.OmegaConf.create(_shown(values)))
        _current.append(text if len(text) <= _LONGEST else "")
    return str(_current[1])


def _shown(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _shown(item, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item, name) for item in value]
    if isinstance(value, bool) or value is None or (isinstance(value, str) and value.startswith("${")):
        return value
    if is_secret(name):
        return hide(str(value))
    return hide_in_arguments(value) if isinstance(value, str) else value
