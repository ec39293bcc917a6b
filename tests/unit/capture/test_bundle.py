"""A script of several files is read back without running it."""

from __future__ import annotations

import pytest

from autoinstrument.capture.bundle import bundle, unpacked
from autoinstrument.capture.code import Code
from autoinstrument.records import ProcessStarted
from tests.unit.repositories import process as process

TEXTS = {
    "plain.py": "a = 1\n", "empty.py": "", "both.py": "a = \"\"\"x\"\"\"\nb = '''y'''\n", "sub/end.py": "a = 'x'",
    "zero.py": "a = '\0'\n", "back.py": "a = \"\\\\n\"\n# \\",
}  # fmt: skip


def test_all_texts_come_back(process: ProcessStarted, tmp_path) -> None:
    script = bundle(Code(tmp_path, text="print()\n", name="command.py"), process._replace(cwd=str(tmp_path)), TEXTS)
    found = unpacked(script)
    assert found is not None
    assert found.files == {"command.py": "print()\n", **TEXTS}
    assert (found.module, found.main) == ("", "command.py")


def test_a_module(process: ProcessStarted, tmp_path) -> None:
    script = bundle(Code(tmp_path, module="installed.train"), process._replace(cwd=str(tmp_path)), TEXTS)
    found = unpacked(script)
    assert found is not None
    assert (found.module, found.main, found.roots) == ("installed.train", "", found.roots)
    for changed in (
        script[:-30],
        script.replace("FILES = {}", "FILES = dict()"),
        script.replace("[1:]", "[1:] + x", 1),
    ):
        unpacked(changed)  # a person has edited it: no error


@pytest.mark.parametrize("text", ["", "print()\n", "\nFILES = {}\n", "\nFILES = {}\n)(", "\nFILES = {}\n" + "(" * 5000])
def test_another_script_is_not_a_bundle(text: str) -> None:
    assert unpacked(text) is None
