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
    assert curve(key) == (title, series)
    assert place(key)[:2] == ((key.rpartition("/")[0], series) if "/" in key[:-1] else (key, key))


def test_a_chart_of_mlflows_system_metrics_has_one_unit() -> None:
    """Names are those that the installed MLflow's monitors give; none of its metrics can have such a title."""
    titles: dict[str, set[str]] = {}
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        for name in monitor.aggregate_metrics():
            title, series = curve(f"system/{name}")
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
