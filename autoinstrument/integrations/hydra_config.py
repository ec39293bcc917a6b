"""Learn the configuration that Hydra gives to the job that it runs, and replace it by that of a clone.

Seen in Hydra 1.1 to 1.3.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any

from autoinstrument.scrubber import MASK, hide, hide_in_arguments, is_secret
from autoinstrument.tracebacks import users_call

_LONGEST = 512 * 1024
_current: list[Any] = []
"""The configuration of the present job, and its text after its first use."""


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
        found = [value for value in (*arguments, *named.values()) if type(value).__name__ == "DictConfig"][:1]
        edited = [_of_clone(config) for config in found]
        if found:
            arguments = tuple(edited[0] if value is found[0] else value for value in arguments)
            named = {name: edited[0] if value is found[0] else value for name, value in named.items()}
        _current[:] = edited
        with users_call:
            return original(*arguments, **named)

    run_job._autoinstrument = True  # type: ignore[attr-defined]
    utils.run_job = run_job


def _of_clone(config: Any) -> Any:
    """Return the job's configuration with the values of the Task that a ClearML agent runs, if a person edited them."""
    under_agent = sys.modules.get("autoinstrument.clone_run.start")
    if under_agent is None:
        return config
    from autoinstrument.guard import logger

    try:
        text = under_agent.edited_configuration()
        return _edited(config, text) if text else config
    except Exception as error:  # of OmegaConf's: the text is no YAML, or a value has another type
        reason = str(error).strip().partition("\n")[0]
        logger().warning("configuration OmegaConf is not understood (%s); Hydra's own counts", reason)
        return config


def _edited(config: Any, text: str) -> Any:
    """Return a copy of a configuration with the values of a YAML text, and Hydra's own part as it is.

    Values keep the types of structured configurations. Hidden values are those of the configuration.

    Raises:
        Exception: the text is no YAML, or a value has another type.
    """
    import copy

    omegaconf: Any = sys.modules["omegaconf"]
    wanted = omegaconf.OmegaConf.to_container(omegaconf.OmegaConf.create(text), resolve=False)
    values = _unmasked(wanted, omegaconf.OmegaConf.to_container(config, resolve=False))
    values.pop("hydra", None)
    edited = copy.deepcopy(config)
    with omegaconf.flag_override(edited, ["struct", "readonly"], [False, False]):
        _drop_others(edited, {**values, "hydra": None})
        edited.merge_with(omegaconf.OmegaConf.create(values))
    return edited


def _unmasked(wanted: Any, own: Any) -> Any:
    """Return values with hidden ones replaced by the configuration's own."""
    if isinstance(wanted, dict):
        before = own if isinstance(own, dict) else {}
        return {key: _unmasked(value, before.get(key)) for key, value in wanted.items()}
    if isinstance(wanted, list):
        old = own if isinstance(own, list) else []
        return [_unmasked(value, old[at] if at < len(old) else None) for at, value in enumerate(wanted)]
    return own if isinstance(wanted, str) and MASK in wanted else wanted


def _drop_others(node: Any, wanted: dict[str, Any]) -> None:
    """Delete the keys that are not wanted; a structured configuration keeps its own."""
    for key in list(node.keys()):
        if key not in wanted:
            with contextlib.suppress(Exception):  # of OmegaConf's, for a key of a structured configuration
                del node[key]
        elif isinstance(wanted[key], dict) and type(node._get_node(key)).__name__ == "DictConfig":
            _drop_others(node._get_node(key), wanted[key])


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
