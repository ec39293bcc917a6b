"""Title and series of a metric: the curve that it makes in ClearML."""

from __future__ import annotations

import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.utils.validation import _validate_metric_name

from autoinstrument.mirror.mapping.pictures import place
from autoinstrument.mirror.mapping.scalars import curve


@pytest.mark.parametrize(
    ("key", "title", "series"),
    [
        ("loss", "loss", "loss"),
        ("a/b/loss", "a/b", "loss"),
        ("a/", "a/", "a/"),
        ("system/gpu_0_utilization_percentage", "system (percentage)", "gpu_0_utilization_percentage"),
        ("system/gpu_1_memory_usage_megabytes", "system gpu (megabytes)", "gpu_1_memory_usage_megabytes"),
        ("system/gpu_0_memory_usage_gigabytes", "system gpu (gigabytes)", "gpu_0_memory_usage_gigabytes"),
        ("system/gpu_0_power_usage_watts", "system gpu (watts)", "gpu_0_power_usage_watts"),
        ("system/a b/n/disk_usage_megabytes", "system/a b/n disk (megabytes)", "disk_usage_megabytes"),
        ("system/cpu_utilization_percentage", "system (percentage)", "cpu_utilization_percentage"),
        ("system/temperature", "system", "temperature"),
        ("my/system/disk_usage_megabytes", "my/system", "disk_usage_megabytes"),
    ],
)
def test_title_and_series(key: str, title: str, series: str) -> None:
    """Other metrics go by their last slash, files too."""
    assert curve(key, "prefix") == (title, series)
    assert place(key)[:2] == ((key.rpartition("/")[0], series) if "/" in key[:-1] else (key, key))


@pytest.mark.parametrize(
    ("key", "title", "series"),
    [
        ("loss", "loss", "loss"),
        ("val/loss", "loss", "val"),
        ("train/epoch/loss", "loss", "train/epoch"),
        ("val/val_loss", "val_loss", "val"),
        ("val_loss", "loss", "val"),
        ("eval_loss", "loss", "eval"),
        ("Train_Loss", "Loss", "Train"),
        ("training_f1_score", "f1_score", "training"),
        ("validation_0-logloss", "logloss", "validation_0"),
        ("valid_0-binary_logloss", "binary_logloss", "valid_0"),
        ("test1.acc", "acc", "test1"),
        ("train_loss_epoch", "loss_epoch", "train"),
        ("val_1", "val_1", "val_1"),
        ("value_loss", "value_loss", "value_loss"),
        ("loss_val", "loss_val", "loss_val"),
        ("a/", "a/", "a/"),
    ],
)
def test_title_and_series_by_name(key: str, title: str, series: str) -> None:
    """Training and validation share a chart, whether a framework writes a slash or not."""
    assert curve(key, "name") == (title, series)


def test_a_chart_of_mlflows_system_metrics_has_one_unit() -> None:
    """Names are those that the installed MLflow's monitors give; none of its metrics can have such a title."""
    titles: dict[str, set[str]] = {}
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        for name in monitor.aggregate_metrics():
            title, series = curve(f"system/{name}", "prefix")
            assert curve(f"system/{name}", "name") == (title, series)
            assert series == name
            titles.setdefault(title, set()).add(name.rpartition("_")[2])
    assert titles == {
        "system (percentage)": {"percentage"},
        "system disk (megabytes)": {"megabytes"},
        "system memory (megabytes)": {"megabytes"},
        "system network (megabytes)": {"megabytes"},
    }
    for title in titles:
        with pytest.raises(Exception, match="Names may only contain"):
            _validate_metric_name(f"{title}/cpu_utilization_percentage")
