"""Wrapped calls are pickled by reference: joblib, Ray and Spark move them as they move MLflow's own functions."""

from __future__ import annotations

import base64
import json
import textwrap

import pytest

from tests.startup.environment import Environment

ON = {"AUTOINSTRUMENT_ENABLED": "1"}

THINGS = {
    "mlflow.start_run": "mlflow.start_run",
    "mlflow.end_run": "mlflow.end_run",
    "mlflow.log_metric": "mlflow.log_metric",
    "mlflow.log_params": "mlflow.log_params",
    "fluent.start_run": "mlflow.tracking.fluent.start_run",
    "function of the class": "TrackingServiceClient.log_metric",
    "bound method": "TrackingServiceClient('http://127.0.0.1:1').log_metric",
    "public client's bound method": "MlflowClient('http://127.0.0.1:1').log_metric",
    "class": "TrackingServiceClient",
    "instance": "TrackingServiceClient('http://127.0.0.1:1')",
    "partial": "functools.partial(mlflow.start_run, run_name='a')",
    "partial of a bound method": "functools.partial(TrackingServiceClient('http://127.0.0.1:1').log_batch, 'run')",
    "in a container": "{'calls': [mlflow.start_run, mlflow.start_run]}",
}
BY_VALUE = {
    "function that uses it by name": "uses_name",
    "function that holds it": "uses_global",
    "function that closes over it": "closes(mlflow.start_run)",
    "function that closes over a bound method": "closes(TrackingServiceClient('http://127.0.0.1:1').log_metric)",
}
"""An object that only cloudpickle can pickle."""

IMPORTS = """
import base64, functools, io, json, pickle, pickletools, sys
import cloudpickle, mlflow
from mlflow import MlflowClient, start_run
from mlflow.tracking._tracking_service.client import TrackingServiceClient
"""

DUMP = """
def uses_name(): return mlflow.start_run
def uses_global(): return start_run
def closes(call): return lambda: call

things, by_value = json.loads(sys.stdin.read())
found = {}
for name, expression in (things | by_value).items():
    thing = eval(expression)
    dumped = [cloudpickle.dumps(thing)]
    if name in things:
        dumped += [pickle.dumps(thing, protocol) for protocol in range(2, 6)]
        buffer = io.BytesIO()
        pickle._Pickler(buffer).dump(thing)  # the one in Python, which joblib extends
        dumped.append(buffer.getvalue())
    found[name] = [base64.b64encode(data).decode() for data in dumped]
    again = pickle.loads(dumped[0])
    if name in ("mlflow.start_run", "fluent.start_run", "mlflow.end_run", "mlflow.log_metric"):
        assert all(pickle.loads(data) is thing for data in dumped), name
    if name == "in a container":
        assert again["calls"][0] is again["calls"][1] is mlflow.start_run
print(json.dumps(found))
"""

LOAD = """
found = json.loads(sys.stdin.read())
result = {}
for name, every in found.items():
    things = [pickle.loads(base64.b64decode(data)) for data in every]
    if name.startswith("function that"):
        things = [thing() for thing in things]
    kinds = [(type(thing).__module__, type(thing).__name__) for thing in things]
    result[name] = [[getattr(thing, "__qualname__", ""), *kind] for thing, kind in zip(things, kinds)]
print(json.dumps([result, "autoinstrument.agent" in sys.modules]))
"""


@pytest.fixture(scope="module")
def pickled(full_environment: Environment):
    return full_environment.result("-c", IMPORTS + DUMP, env=ON, stdin=json.dumps([THINGS, BY_VALUE]))


def load(environment: Environment, pickled, on):
    return environment.result("-c", IMPORTS + LOAD, env=ON if on else {}, stdin=json.dumps(pickled))


def test_everything_can_be_pickled(pickled):
    assert set(pickled) == {*THINGS, *BY_VALUE}


def test_nothing_of_the_agent_is_in_a_pickle(pickled):
    for name, every in pickled.items():
        for data in every:
            assert b"autoinstrument" not in base64.b64decode(data), name
            assert b"wrapt" not in base64.b64decode(data), name


@pytest.fixture(scope="module")
def loaded(full_environment: Environment, pickled):
    return {on: load(full_environment, pickled, on)[0] for on in (True, False)}


def test_a_process_without_the_agent_gets_mlflows_own(loaded, full_environment, pickled):
    kinds = {
        "mlflow.start_run": ["start_run", "builtins", "function"],
        "mlflow.end_run": ["end_run", "builtins", "function"],
        "mlflow.log_params": ["log_params", "builtins", "function"],
        "fluent.start_run": ["start_run", "builtins", "function"],
        "function of the class": ["TrackingServiceClient.log_metric", "builtins", "function"],
        "bound method": ["TrackingServiceClient.log_metric", "builtins", "method"],
        "partial": ["", "functools", "partial"],
        "function that uses it by name": ["start_run", "builtins", "function"],
        "function that holds it": ["start_run", "builtins", "function"],
        "function that closes over it": ["start_run", "builtins", "function"],
        "function that closes over a bound method": ["TrackingServiceClient.log_metric", "builtins", "method"],
    }
    for name, kind in kinds.items():
        assert loaded[False][name] == [kind] * len(pickled[name]), name


def test_a_process_with_the_agent_gets_the_wrapped_ones(loaded, pickled):
    for name in ("mlflow.start_run", "mlflow.end_run", "function that holds it", "function that closes over it"):
        assert {kind for _, _, kind in loaded[True][name]} == {"Reference"}, name
    assert {kind for _, _, kind in loaded[True]["function of the class"]} == {"_MethodReference"}
    for name in ("bound method", "function that closes over a bound method"):
        assert {kind for _, _, kind in loaded[True][name]} == {"_BoundReference"}, name


def test_a_pickle_is_the_same_as_without_the_agent(full_environment, pickled):
    """Functions: byte for byte; a store's cache of results by their pickles stays valid."""
    without = full_environment.result("-c", IMPORTS + DUMP, stdin=json.dumps([THINGS, BY_VALUE]))
    same = {"mlflow.start_run", "mlflow.end_run", "mlflow.log_metric", "mlflow.log_params", "fluent.start_run"} | {
        "class", "partial", "function of the class"
    }  # fmt: skip
    assert {name for name in same if pickled[name] != without[name]} == set()


def test_processes_of_a_pool_are_given_wrapped_calls(full_environment, tmp_path):
    """As joblib and multiprocessing do it: the calls themselves are the tasks."""
    (tmp_path / "train.py").write_text(
        textwrap.dedent("""
        import json, mlflow, multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from mlflow.tracking._tracking_service.client import TrackingServiceClient

        def kind(call):
            return type(call).__name__

        if __name__ == "__main__":
            client = TrackingServiceClient("http://127.0.0.1:1")
            calls = [mlflow.start_run, mlflow.active_run, client.log_metric]
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                print(json.dumps([*pool.map(kind, calls), pool.submit(mlflow.end_run).result()]))
        """)
    )
    kinds = full_environment.result("train.py", cwd=tmp_path, env=ON)
    assert kinds == ["Reference", "function", "_BoundReference", None]


CLASS_CALLS = """
import json
from autoinstrument.integrations.wrapping import wrap

seen = []
class Base:
    def log(self, key, value=0): return [type(self).__name__, key, value]
class Client(Base):
    def log(self, key, value=0):
        "Log it."
        return ["Client", *super().log(key, value)]
class Sub(Client):
    def log(self, *args, **kwargs): return ["Sub", *super().log(*args, **kwargs)]

def around(wrapped, instance, args, kwargs):
    seen.append([type(instance).__name__, args, kwargs])
    return wrapped(*args, **kwargs)

wrap(Client, "log", around)
wrap(Client, "log", around)
results = [Client().log("a", value=1), Client.log(Client(), "a", 2), Sub().log("a"), Client.log(Sub(), "a"),
    Client.log(self=Client(), key="a")]
errors = []
for call in (lambda: Client.log(), lambda: Client().log()):
    try:
        call()
    except TypeError as error:
        errors.append(str(error))
print(json.dumps([results, seen, errors, Client.log is Client.log, wrap(Client, "missing", around)]))
"""


def test_methods_are_called_through_instances_classes_and_super(full_environment):
    results, seen, errors, same, missing = full_environment.result("-c", CLASS_CALLS)
    assert results == [
        ["Client", "Client", "a", 1], ["Client", "Client", "a", 2], ["Sub", "Client", "Sub", "a", 0],
        ["Client", "Sub", "a", 0], ["Client", "Client", "a", 0],
    ]  # fmt: skip
    # Once each; the last, whose `self` is given by name, and the faulty call without one, are the class's own affair.
    assert seen[:4] == [
        ["Client", ["a"], {"value": 1}], ["Client", ["a", 2], {}], ["Sub", ["a"], {}], ["Sub", ["a"], {}],
    ]  # fmt: skip
    assert len(seen) == 5
    assert errors == [
        "Client.log() missing 2 required positional arguments: 'self' and 'key'",
        "Client.log() missing 1 required positional argument: 'key'",
    ]
    assert same is True
    assert missing is False
