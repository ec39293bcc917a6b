from __future__ import annotations

from autoinstrument.monitor.averages import Averages


def test_averages_since_any_moment() -> None:
    averages = Averages()
    start = averages.now()
    averages.add({"cpu": 10.0})
    later = averages.now()
    averages.add({"cpu": 30.0, "gpu": 5.0})
    assert averages.since(start) == {"cpu": 20.0, "gpu": 5.0}
    assert averages.since(later) == {"cpu": 30.0, "gpu": 5.0}
    assert averages.since(averages.now()) == {}
