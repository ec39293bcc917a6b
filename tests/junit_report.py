"""Read what pytest reports of its tests. Standard library only, as `tiers.py`."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree


def failures(report: Path) -> int:
    """Return the number of tests in a JUnit report that failed, or could not be set up or cleaned up."""
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    return sum(int(suite.get(name, "0")) for suite in suites for name in ("failures", "errors"))


def count(report: Path) -> str:
    """Return the numbers in a JUnit report, as in "12 tests, 1 failed"."""
    if not report.exists():
        return "no tests"
    suite = ElementTree.parse(report).getroot().find("testsuite")
    found = {} if suite is None else suite.attrib
    names = {"failures": "failed", "errors": "errors", "skipped": "skipped"}
    others = [f"{found[name]} {word}" for name, word in names.items() if found.get(name, "0") != "0"]
    return ", ".join([f"{int(found.get('tests', '0')):,} tests", *others])
