"""A launcher for Hydra that runs each job in a loky process, as joblib's launcher does, which is a separate package."""

from __future__ import annotations

LAUNCHER = """
from hydra.core.hydra_config import HydraConfig
from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict

def job(number, overrides, context, config, function, state):
    setup_globals()
    Singleton.set_state(state)
    own = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(own):
        own.hydra.job.id = own.hydra.job.num = number
    HydraConfig.instance().set_config(own)
    return run_job(function, own, "hydra.sweep.dir", "hydra.sweep.subdir", context)

class ProcessLauncher(Launcher):
    def setup(self, *, hydra_context, task_function, config):
        self.rest = (hydra_context, config, task_function)

    def launch(self, job_overrides, initial_job_idx):
        from joblib import Parallel, delayed
        given = (*self.rest, Singleton.get_state())
        return Parallel(n_jobs=2, backend="loky")(
            delayed(job)(initial_job_idx + number, overrides, *given) for number, overrides in enumerate(job_overrides)
        )

ConfigStore.instance().store(
    group="hydra/launcher", name="process", node={"_target_": "hydra_plugins.process.ProcessLauncher"}
)
"""
