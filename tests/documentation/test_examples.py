"""The example that the demo runs shows what README's first paragraph promises."""

from __future__ import annotations

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, section
from tests.startup.environment import ROOT


@pytest.mark.slow
def test_the_example_of_the_demo_logs_each_kind_of_data(place: Place, server: ClearMLServer) -> None:
    """Parameters, metrics, figures, images, tables, files and a model."""
    command = [str(ROOT / "examples" / "train_loop.py"), "--epochs", "2"]
    done = place.start("", command=command, AUTOINSTRUMENT_EXIT_TIMEOUT="120").finish()
    assert done.code == 0, done.stderr
    assert "WARNING" not in done.stderr
    task = ended(server, place.the_run().info.run_id)
    assert section(task, "MLflow")["epochs"] == "2"
    assert set(server.scalars(task["id"])) == {"train", "val"}
    artifacts = {entry["key"] for entry in task["execution"]["artifacts"]}
    assert artifacts == {"figures/confusion.png", "images/weights.png", "report.txt", "tables/mistakes.json"}
    kinds = {event["type"] for event in server.events(task["id"])}
    assert {"training_stats_scalar", "plot", "training_debug_image", "log"} <= kinds
    (model,) = task["models"]["output"]
    assert server.state.models[model["model"]]["name"] == "classifier"
