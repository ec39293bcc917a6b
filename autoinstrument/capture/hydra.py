"""Find the job of a Hydra sweep that this process is running, and the arguments that run this job alone.

Runs in the training process. Hydra (seen in 1.3) runs the jobs of one `--multirun` one after the other in one process,
or each in a worker process of joblib or submitit: the command line is that of the sweep, or of the worker.
"""

from __future__ import annotations

import sys
from typing import Any

from autoinstrument.integrations.parsed_arguments import HYDRA, hydra_overrides, parsed
from autoinstrument.records import Param

_OF_THE_SWEEP = ("hydra.mode", "hydra.sweep", "hydra.sweeper", "hydra.launcher")
"""Settings of Hydra that a single job does not need, or that would make it a sweep."""


def job_arguments() -> list[Param]:
    """Return the arguments that run the current job alone, [] if the process runs no job of a sweep."""
    config = _job()
    if config is None:
        return []
    given = [param for param in parsed() if not param[0].startswith(HYDRA)]
    if "config_name" not in {name for name, _, _ in given}:  # a worker process, which has not parsed a command line
        given = _sources(config)
    alone = [("multirun", "False", "bool") if param[0] == "multirun" else param for param in given]
    return [*_overrides(config), *alone]


def _job() -> Any:
    """Return Hydra's configuration of the current job, None outside of a sweep."""
    module: Any = sys.modules.get("hydra.core.hydra_config")
    omegaconf: Any = sys.modules.get("omegaconf")
    if module is None or omegaconf is None:
        return None
    try:
        if not module.HydraConfig.initialized():
            return None
        config = module.HydraConfig.get()
        return None if omegaconf.OmegaConf.is_missing(config.job, "num") else config
    except Exception:  # partly imported, or another module of that name
        return None


def _overrides(config: Any) -> list[Param]:
    of_hydra = [str(override) for override in config.overrides.hydra]
    kept = [override for override in of_hydra if not _is_of_the_sweep(_name(override))]
    has_mode = any(_name(override) == "hydra.mode" for override in of_hydra)
    if not has_mode and str(getattr(config, "mode", "")).endswith("MULTIRUN"):
        kept.append("hydra.mode=RUN")  # the configuration itself requests a sweep
    return hydra_overrides([*map(str, config.overrides.task), *kept])


def _name(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").replace("/", ".")


def _is_of_the_sweep(name: str) -> bool:
    return name.startswith(tuple(f"{setting}." for setting in _OF_THE_SWEEP)) or name in _OF_THE_SWEEP


def _sources(config: Any) -> list[Param]:
    """Return the options of Hydra's command line that name the configuration."""
    folders = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
    name = config.job.config_name
    return [
        ("config_name", "" if name is None else str(name), "str"),
        *[("config_dir", str(folder), "str") for folder in folders[:1]],
    ]
