"""The user's exceptions have the tracebacks that they have without the agent."""

from __future__ import annotations

import sys

import pytest

from tests.end_to_end.harness import Place

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 raises again with the frames it had")

SCRIPT = """
    import argparse, os, re, sys, traceback
    import mlflow
    from mlflow.tracking import MlflowClient
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    def refuse(text):
        raise RuntimeError(text) from KeyError("cause")

    def in_a_context():
        try:
            1 / 0
        finally:
            mlflow.log_metric("loss", "no number")

    def broken_pipe():
        print("lost", file=sys.stdout)

    class Broken:
        def __str__(self):
            raise OSError("no text")

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=refuse)
    parser.add_subparsers().add_parser("sub").add_argument("--lr", type=refuse)
    mlflow.start_run(run_name="errors")
    client, run_id = MlflowClient(), mlflow.active_run().info.run_id
    mlflow.log_param("lr", 1)
    calls = {
        "metric": lambda: mlflow.log_metric("loss", "no number"),
        "metric, inside": lambda: in_a_context(),
        "param": lambda: mlflow.log_param("lr", 2),
        "params": lambda: mlflow.log_params({"lr": 2}),
        "params that are none": lambda: mlflow.log_params({"lr": Broken()}),
        "batch": lambda: client.log_batch("0" * 32, params=[mlflow.entities.Param("lr", "1")]),
        "tag": lambda: client.set_tag("no run", "a", "b"),
        "run": lambda: mlflow.start_run(),
        "resumed": lambda: mlflow.start_run(run_id="0" * 32, nested=True),
        "artifact": lambda: mlflow.log_artifact("no such file"),
        "arguments": lambda: client._tracking_client.log_metric(),
        "of the class": lambda: TrackingServiceClient.log_metric(client._tracking_client, run_id, "loss", "none"),
        "nothing of the class": lambda: TrackingServiceClient.log_metric(),
        "model": lambda: client.create_model_version("none", "nowhere"),
        "store": lambda: MlflowClient("unknown://store"),
        "registry": lambda: MlflowClient(registry_uri="unknown://store").get_registered_model("a"),
        "option": lambda: parser.parse_args(["--lr", "x"]),
        "option of a command": lambda: parser.parse_args(["sub", "--lr", "x"]),
        "import": lambda: __import__("accelerate.tracking"),
        "pipe": broken_pipe,
    }
    lines = []
    for name, call in calls.items():
        if name == "pipe":
            kept = os.dup(1)
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 1)
            sys.stdout.reconfigure(line_buffering=True)
        try:
            call()
        except BaseException as error:
            lines += ["", name, traceback.format_exc()]
        else:
            lines += ["", name, "NO ERROR"]
    os.dup2(kept, 1)
    text = "\\n".join(lines)
    print(re.sub("[0-9a-f]{32}|[0-9]{13}|0x[0-9a-f]+", "#", text))
"""


def test_they_have_no_frame_of_the_agent(place: Place) -> None:
    """Tracebacks of wrapped calls, of options' types, of an import that is awaited, of `print` into a closed pipe."""
    place.write("accelerate/__init__.py", "")
    place.write("accelerate/tracking.py", "1 / 0\n")
    without = place.run(SCRIPT, agent=False)
    assert "NO ERROR" not in without.stdout, without.stdout
    done = place.run(SCRIPT)
    assert done.stdout == without.stdout
    assert done.agent_lines
