"""Hugging Face's Trainer and Accelerate: their MLflow integrations are mirrored, their ClearML ones do not start."""

from __future__ import annotations

import json
from collections.abc import Callable

from autoinstrument.scrubber import hide_named
from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, properties, scalars, section
from tests.frameworks.mirrored import Mirrored

TRAINER = """
import os, random, sys
import torch
from transformers import BertConfig, BertForSequenceClassification, PrinterCallback, Trainer, TrainingArguments

def train(report_to):
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(
        vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
    ))
    data = [{"input_ids": torch.randint(0, 32, (6,)), "labels": i % 2} for i in range(16)]
    arguments = TrainingArguments(
        "out", max_steps=4, per_device_train_batch_size=4, logging_steps=1, report_to=report_to, disable_tqdm=True,
        save_strategy="no", use_cpu=True, run_name="trainer",
    )
    print(arguments.report_to)
    trainer = Trainer(model, arguments, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    print(trainer.train().training_loss)
"""
ALL = """
# Without the agent the ClearML callbacks would start, as they do wherever clearml is installed.
every = "all" if os.environ.get("AUTOINSTRUMENT_ENABLED") else "mlflow"
random.seed(5)
train(every)
from accelerate import Accelerator
accelerator = Accelerator(log_with=every, cpu=True)
print([str(tracker) for tracker in accelerator.log_with])
accelerator.init_trackers("accelerated", config={"lr": 0.5})
for step in range(5):
    accelerator.log({"loss": step / 7}, step=step)
accelerator.end_training()
print(random.random(), "clearml" in sys.modules)
"""


def test_reporting_to_all_means_mlflow(train: Callable[[str], list[Mirrored]]) -> None:
    """One Task a run, and none of the process's own; clearml is not imported, and random numbers stay as they were."""
    trainer, accelerated = train(TRAINER + ALL)
    assert {step for key, step in trainer.points if key == "loss"} == {1, 2, 3, 4}
    assert trainer.run.data.params["hidden_size"] == "8"
    assert trainer.task["hyperparams"]["MLflow"]["hidden_size"]["type"] == "int"
    assert {step for key, step in accelerated.points if key == "loss"} == set(range(5))
    assert accelerated.run.data.params == {"lr": "0.5"}


def test_clearml_by_its_name_is_left_alone(sdk_place: Place, own_server: ClearMLServer) -> None:
    """Its callback runs, and the run takes over its Task, which then holds the data of both."""
    done = sdk_place.run(TRAINER + "train(['mlflow', 'clearml'])\n")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("['mlflow', 'clearml']\n")
    run = sdk_place.the_run()
    (task,) = own_server.tasks
    assert properties(task)["mlflow_run_id"] == run.info.run_id
    assert section(task, "MLflow") == {key: hide_named(key, value) for key, value in run.data.params.items()}
    assert section(task, "Transformers")["max_steps"] == "4"
    assert sdk_place.points(run.info.run_id).items() <= scalars(own_server, task["id"]).items()


WHO_ASKS = """
import json, sys
found = {}
def ask(case):
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations import integration_utils
    from accelerate import tracking
    assert integration_utils.get_available_reporting_integrations is get_available_reporting_integrations
    found[case] = [
        "clearml" in get_available_reporting_integrations(),
        "clearml" in map(str, tracking.filter_trackers("all")),
        "clearml" in map(str, tracking.filter_trackers(["all", "clearml"])),
        "clearml" in map(str, tracking.filter_trackers(log_with=["clearml"])),
    ]
"""


def test_only_duplicates_are_left_out(place: Place) -> None:
    """ClearML stays if it is asked for by name, if the script imported it, and if the agent is off."""
    place.environ["PYTHONWARNINGS"] = "ignore"

    def asked(script: str, **environ: object) -> dict[str, list[bool]]:
        done = place.run(WHO_ASKS + script + "\nprint(json.dumps(found))\n", **environ)
        assert done.code == 0, done.stderr
        return json.loads(done.stdout)

    with_mlflow = "ask('alone')\nimport mlflow\nask('with mlflow')\nimport clearml\nask('with clearml')"
    assert asked(with_mlflow) == {
        "alone": [False, False, True, True],
        "with mlflow": [False, False, True, True],
        "with clearml": [True, True, True, True],
    }
    assert asked("ask('off')", agent=False) == {"off": [True, True, True, True]}
    assert asked("ask('refused')", AUTOINSTRUMENT_WORKER="nonsense") == {"refused": [True, True, True, True]}
    without_mlflow = "sys.modules['mlflow'] = None\nask('without mlflow')"
    assert asked(without_mlflow, DISABLE_MLFLOW_INTEGRATION="1")["without mlflow"][0] is True
