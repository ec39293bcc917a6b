"""Memory and processor time of processes with all their children."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from autoinstrument.monitor.process_trees import ProcessTrees, TreeUsage, outermost

_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "x = bytearray(80 * 2**20); print(1, flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
for line in sys.stdin:
    if line == "burn\\n":
        while __import__("time").process_time() < float(sys.argv[1]): pass
    elif line == "end\\n":
        child.communicate(b"\\n")
    print("done", flush=True)
"""


class Tree:
    """A process with a child of 80 MB."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self.pid = process, process.pid
        assert process.stdout is not None
        self.child = int(process.stdout.readline())

    def do(self, word: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()


@pytest.fixture
def tree() -> Iterator[Tree]:
    command = [sys.executable, "-I", "-S", "-c", _CHILD, "0.5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Tree(process)
        process.kill()


def test_children_count(tree: Tree) -> None:
    usage = ProcessTrees().look([tree.pid])[tree.pid]
    assert usage.pids == {tree.pid, tree.child}
    alone = psutil.Process(tree.child).memory_info().rss / 2**30
    assert usage.memory_gb == pytest.approx(alone, rel=0.2)  # the parent's own is among it, as in ClearML's monitor


def test_processor_time_since_the_previous_look(tree: Tree) -> None:
    trees = ProcessTrees()
    assert trees.look([tree.pid])[tree.pid].cpu_percent is not None
    idle = trees.look([tree.pid])[tree.pid].cpu_percent
    assert idle is not None
    tree.do("burn")
    busy = trees.look([tree.pid])[tree.pid].cpu_percent
    assert busy is not None
    assert 100 / (psutil.cpu_count() or 1) + 5 >= busy > idle
    tree.do("end")  # its time is its parent's from now on
    assert trees.look([tree.pid])[tree.pid].pids == {tree.pid}


def test_processes_that_are_gone_or_unknown_have_no_usage(tree: Tree) -> None:
    trees = ProcessTrees()
    assert trees.look([tree.pid, 2**22 + 1]).keys() == {tree.pid}
    psutil.Process(tree.pid).kill()
    psutil.Process(tree.pid).wait()
    assert trees.look([tree.pid]) in ({}, {tree.pid: trees.look([tree.pid]).get(tree.pid)})


def test_a_parent_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is nine tenths of the work."""
    trees = ProcessTrees()
    asked: list[int] = []

    class Asked(psutil.Process):
        def ppid(self) -> int:
            asked.append(self.pid)
            return super().ppid()

    new = Asked(os.getpid())
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([new]))
    for _ in range(3):
        trees.look([])
    assert asked == [os.getpid()]


def test_a_process_below_another_one_is_part_of_it() -> None:
    usages = {1: TreeUsage(frozenset({1, 2}), 1.0, 1.0), 2: TreeUsage(frozenset({2}), 1.0, 1.0)}
    assert outermost([1, 2, 3], usages) == [1]
    assert outermost([2], usages) == [2]
