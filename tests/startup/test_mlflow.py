"""MLflow with its calls wrapped looks and behaves as MLflow; where it must not be wrapped, it is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.startup.environment import Environment
from tests.startup.test_broken_installations import write_stub

ON = {"AUTOINSTRUMENT_ENABLED": "1"}

# The view that a process has of MLflow, as JSON; run with the agent on and off.
LOOK = """
import copy, functools, importlib, inspect, json, pkgutil, sys, threading, types, typing
before = set(sys.modules)
import mlflow
from mlflow import start_run
from mlflow.tracking import fluent
from mlflow.tracking._tracking_service import client
Client = client.TrackingServiceClient
functions = [mlflow.start_run, mlflow.end_run, mlflow.log_metric,
    Client.create_run, Client.log_metric, Client.log_batch, Client("http://127.0.0.1:1").log_metric]
look = {
    "same": [mlflow.start_run is fluent.start_run is start_run, mlflow.end_run is fluent.end_run],
    "described": [[f.__name__, f.__qualname__, f.__module__, f.__doc__, str(inspect.signature(f)),
        inspect.getsource(f), sorted(typing.get_type_hints(f)), str(f.__defaults__), f.__code__.co_name,
        inspect.isfunction(f), inspect.ismethod(f), inspect.isroutine(f), isinstance(f, types.FunctionType),
        callable(f), hash(f) == hash(f), f == f] for f in functions],
    "loaders": [type(module.__loader__).__name__ for module in (mlflow, fluent, client)]
        + [type(module.__spec__.loader).__name__ for module in (mlflow, fluent, client)]
        + [sorted(vars(module.__loader__)) for module in (mlflow, fluent, client)],
    "module": [inspect.getfile(fluent), inspect.getsource(fluent)[-100:], sorted(vars(fluent)), sorted(vars(Client))],
    "data": [len(pkgutil.get_data("mlflow.tracking", "fluent.py")), fluent.__spec__.cached],
    "copies": [copy.copy(f) is f and copy.deepcopy(f) is f for f in functions[:3]],
    "bound": copy.copy(functions[-1])._self_instance is not None if hasattr(functions[-1], "_self_instance") else True,
    "deep": copy.deepcopy({"call": functions[-1]})["call"].__self__ is not functions[-1].__self__,
    "partial": str(inspect.signature(functools.partial(mlflow.start_run, run_name="a"))),
    "threads": [thread.name for thread in threading.enumerate()],
    "clearml": "clearml" in sys.modules,
}
wrapped = [type(f).__module__ == "autoinstrument.integrations.wrapping" for f in functions]
"""

PATCH = """
from unittest import mock
import mlflow
from mlflow.tracking import fluent
one, two = mlflow.start_run, fluent.start_run
with mock.patch("mlflow.start_run") as fake:
    assert mlflow.start_run is fake and fluent.start_run is two
    mlflow.start_run(1)
assert mlflow.start_run is one and fake.call_count == 1
with mock.patch("mlflow.tracking.fluent.start_run", autospec=True) as fake:
    fluent.start_run(run_name="a")
    try:
        fluent.start_run(no_such_argument=1)
        raise SystemExit("autospec lost the signature")
    except TypeError:
        pass
assert fluent.start_run is two
from mlflow.tracking._tracking_service.client import TrackingServiceClient
before = vars(TrackingServiceClient)["log_metric"]
with mock.patch.object(TrackingServiceClient, "log_metric", autospec=True) as fake:
    TrackingServiceClient("http://127.0.0.1:1").log_metric("run", "key", 1.0)
assert vars(TrackingServiceClient)["log_metric"] is before, "the class has another object in its place"
"""

RELOAD = """
import importlib
importlib.reload(fluent)
again = fluent.start_run
print(json.dumps([type(again).__name__, type(again.__wrapped__).__name__, type(fluent.__loader__).__name__,
    again is not mlflow.start_run]))
"""


def is_wrapped(expression: str) -> str:
    return f"type({expression}).__module__ == 'autoinstrument.integrations.wrapping'"


@pytest.fixture(scope="module")
def looks(full_environment: Environment):
    """The view of a process with the agent on, and with it off."""
    code = f"{LOOK}\nprint(json.dumps([look, wrapped, sorted(set(sys.modules) - before)]))\n"
    return [full_environment.result("-c", code, env=env) for env in (ON, {})]


def test_the_calls_are_wrapped(looks):
    (_, on, _), (_, off, _) = looks
    assert on == [True, True, False, True, True, True, True]
    assert not any(off)


@pytest.mark.parametrize(
    "what",
    ["same", "described", "loaders", "module", "data", "copies", "bound", "deep", "partial", "threads", "clearml"],
)
def test_mlflow_looks_the_same(looks, what):
    (on, _, _), (off, _, _) = looks
    assert on[what] == off[what]


def test_importing_mlflow_loads_nothing_heavy_on_top(looks):
    """No ClearML, no numerics: the agent's own modules, wrapt, and standard library."""
    (_, _, on), (_, _, off) = looks
    extra = {name.partition(".")[0] for name in set(on) - set(off)}
    assert "clearml" not in extra
    assert extra - set(STANDARD) <= {"autoinstrument", "wrapt", "__wrapt__", "_wrapt"}


STANDARD = __import__("sys").stdlib_module_names


def test_functions_can_be_patched_and_patched_back(full_environment):
    done = full_environment.run("-c", PATCH, env=ON)
    assert (done.stdout, done.stderr) == ("", "")


def test_reloading_the_module_wraps_the_new_function(full_environment):
    assert full_environment.result("-c", LOOK + RELOAD, env=ON) == ["Reference", "function", "SourceFileLoader", True]


def test_importing_mlflow_and_ending_prints_nothing(full_environment):
    done = full_environment.run("-X", "dev", "-c", "import mlflow", env={**ON, "PYTHONWARNINGS": "ignore"})
    assert (done.stdout, done.stderr) == ("", "")


LATE = """
import json, mlflow, os
import mlflow.tracking.fluent as fluent
from mlflow.tracking._tracking_service.client import TrackingServiceClient
before = mlflow.start_run
os.environ["AUTOINSTRUMENT_ENABLED"] = "1"
import autoinstrument
autoinstrument.init()
once = mlflow.start_run
autoinstrument.init()
print(json.dumps([mlflow.start_run is fluent.start_run, mlflow.end_run is fluent.end_run, once is mlflow.start_run,
    mlflow.start_run.__wrapped__ is before, type(TrackingServiceClient.create_run).__module__]))
"""


def test_init_after_mlflow_was_imported_wraps_both_names(full_environment):
    """A notebook in which the variable is set in a cell."""
    assert full_environment.result("-c", LATE) == [True, True, True, True, "autoinstrument.integrations.wrapping"]


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("AUTOINSTRUMENT_WORKER", "banana", "one of process, thread"),
        ("AUTOINSTRUMENT_EXIT_TIMEOUT", "soon", "a number of seconds"),
        ("AUTOINSTRUMENT_PROJECT", "{nothing}", "{experiment}"),
    ],
)
def test_a_bad_setting_is_one_line_and_mlflow_stays_as_it_is(full_environment, tmp_path, variable, value, allowed):
    code = (
        "import json, sys, mlflow; write = 'write' in vars(sys.stdout)\n"
        f"print(json.dumps([{is_wrapped('mlflow.start_run')}, {is_wrapped('mlflow.tracking.fluent.end_run')}, write]))"
    )
    write_stub(tmp_path)  # MLflow, whose import takes seconds, has no part in it
    (tmp_path / "mlflow/__init__.py").write_text(
        "from mlflow.tracking.fluent import start_run\nimport mlflow.tracking\n"
    )
    (tmp_path / "mlflow/tracking/fluent.py").write_text(
        "from ._tracking_service import client\ndef start_run(): pass\ndef end_run(): pass\n"
    )
    done = full_environment.run("-c", code, env={**ON, variable: value}, cwd=tmp_path)
    assert json.loads(done.stdout) == [False, False, False]
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"autoinstrument: {variable}={value!r} is not allowed: ")
    assert allowed in line


@pytest.mark.parametrize("version", ["1.30.1", "2.15.2", "4.0.0", "4.0.0rc1"])
def test_an_mlflow_that_is_not_supported_is_left_alone_with_one_line(full_environment, tmp_path, version):
    """A stand-in with MLflow's module names reports that version."""
    write_stub(tmp_path)
    (tmp_path / "mlflow/version.py").write_text(f"VERSION = {version!r}\n")
    code = (
        "import json, sys, mlflow, mlflow.tracking.fluent; mlflow.start_run()\n"
        f"print(json.dumps([{is_wrapped('mlflow.start_run')}, 'write' in vars(sys.stdout)]))"
    )
    done = full_environment.run("-c", code, env=ON, cwd=tmp_path)
    assert json.loads(done.stdout) == [False, False]
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"autoinstrument: MLflow {version} is not supported, and is left alone; supported: 2.16 to 3.x"
    )


@pytest.mark.parametrize("version", ["2.16.0", "2.22.1", "3.0.0rc1", "3.99"])
def test_an_mlflow_that_is_supported_is_wrapped(full_environment, tmp_path, version):
    write_stub(tmp_path)
    (tmp_path / "mlflow/version.py").write_text(f"VERSION = {version!r}\n")
    code = f"import json, mlflow, mlflow.tracking.fluent; print(json.dumps({is_wrapped('mlflow.start_run')}))"
    assert full_environment.result("-c", code, env=ON, cwd=tmp_path) is True


def test_functions_that_a_version_lacks_are_not_added(full_environment, tmp_path):
    write_stub(tmp_path)
    code = "import json, mlflow.tracking.fluent as fluent; print(json.dumps(hasattr(fluent, 'end_run')))"
    assert full_environment.result("-c", code, env=ON, cwd=tmp_path) is False


OUTCOMES = """
import json, os, mlflow.tracking.fluent
steps = [json.loads(line)[1:] for line in open(os.environ["AUTOINSTRUMENT_EXPLAIN"])]
print(json.dumps({detail: step == "wrapped" for step, detail in steps if step in ("wrapped", "not wrapped")}))
"""


@pytest.fixture
def noted(tmp_path):
    """The variable that `explain` and `doctor` set, and a function that reads the notes."""
    (tmp_path / "steps").touch()
    return {"AUTOINSTRUMENT_EXPLAIN": str(tmp_path / "steps")}


def test_wrapped_and_missing_functions_can_be_listed(full_environment, noted):
    """Functions of the real MLflow, whose versions have different ones."""
    assert full_environment.result("-c", OUTCOMES, env=noted) == {}
    outcomes = full_environment.result("-c", OUTCOMES, env=ON | noted)
    assert outcomes["mlflow.tracking.fluent.start_run"]
    methods = ("create_run", "log_metric", "log_batch", "set_terminated")
    assert all(outcomes[f"TrackingServiceClient.{name}"] for name in methods)


def test_the_same_is_wrapped_before_and_after_mlflows_import(full_environment, noted):
    """The end-to-end tests stand on this: their scripts are forked from a process that has imported MLflow."""
    before = full_environment.result("-c", "import mlflow\n" + OUTCOMES, env=ON | noted)
    (Path(noted["AUTOINSTRUMENT_EXPLAIN"])).write_text("")
    late = (
        "import os, mlflow\nos.environ['AUTOINSTRUMENT_ENABLED'] = '1'\nimport autoinstrument\nautoinstrument.init()\n"
    )
    assert full_environment.result("-c", late + OUTCOMES, env=noted) == before
    assert before


LACKING = """
import sys

class Without:
    # A finder behind the agent's: it removes something from a module as soon as that has run.

    def find_spec(self, name, path, target=None):
        if name not in LACKS:
            return None
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in sys.meta_path[2:])))
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (run(module), LACKS[name](module))
        return spec

def without_method(module):
    del module.TrackingServiceClient.log_batch

def without_class(module):
    kept = module.ModelRegistryClient
    module.ModelRegistryClient = lambda *args, **kwargs: kept(*args, **kwargs)

LACKS = {
    "mlflow.tracking._tracking_service.client": without_method,
    "mlflow.tracking._model_registry.client": without_class,
}
sys.meta_path.insert(1, Without())
"""


def test_a_function_that_an_mlflow_lacks_leaves_the_others_wrapped(full_environment, tmp_path, noted):
    """The real MLflow without one of its methods, and without a class."""
    (tmp_path / "lacking.py").write_text(LACKING + OUTCOMES)
    done = full_environment.run("lacking.py", env=ON | noted, cwd=tmp_path)
    outcomes = json.loads(done.stdout)
    client = "TrackingServiceClient"
    assert (outcomes[f"{client}.log_metric"], outcomes[f"{client}.log_batch"]) == (True, False)
    registry = [wrapped for name, wrapped in outcomes.items() if "ModelRegistryClient" in name]
    assert registry
    assert not any(registry)
    (line,) = done.stderr.splitlines()
    assert line.startswith("autoinstrument: instrumenting mlflow.tracking._model_registry.client failed, training goes")
