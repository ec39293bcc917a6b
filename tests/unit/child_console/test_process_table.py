"""Processes and their ancestors are identified without psutil."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autoinstrument.child_console.process_table import ancestors, identity
from tests.startup.environment import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")


def test_a_process_has_the_same_identity_for_all() -> None:
    code = "import sys; sys.path.append(sys.argv[1]); from autoinstrument.child_console import process_table as table"
    code += "; print(*table.ancestors(int(sys.argv[2])))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT), str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[0] == identity(os.getpid()) == ancestors(os.getpid())[0]


def test_ancestors_begin_with_the_process_and_its_parent() -> None:
    assert ancestors(os.getpid())[:2] == [identity(os.getpid()), identity(os.getppid())]


def test_a_process_that_is_gone() -> None:
    assert identity(2**22 + 1) == f"{2**22 + 1}-0"
