"""messages.md has every line that the code can print, and no other."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoinstrument.cli import main
from autoinstrument.sync.selection import Outcome
from tests.documentation.pages import matches
from tests.startup.environment import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import messages_code
import messages_page

KNOWN = messages_page.read()


def test_the_code_and_the_page_have_the_same_texts() -> None:
    """`python docs/messages_page.py` writes the page, once docs/messages.yml has an entry for a new text."""
    assert list(messages_page.unknown(KNOWN, list(messages_code.texts()))) == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('logger().warning("run %s: it breaks", name)', "logged"),
        ('raise click.UsageError(f"there is no {name}")', "error"),
        ('click.echo(wrapped(f"{name}: is away"))', "printed"),
        ('yield Check("name", False, f"{name} is away", "Call it back.")', "finding"),
        ('yield Difference("status", f"{name} instead of x")', "difference"),
        ('return f"it is away since {name}" if name else ""', "reason"),
        ('reason = "nobody knows"', "reason"),
    ],
)
def test_a_new_text_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, kind: str) -> None:
    (tmp_path / "module.py").write_text(f'def speak(name: str):\n    """Say something here."""\n    {line}\n')
    with monkeypatch.context() as patch:
        patch.setattr(messages_code, "PACKAGE", tmp_path)
        found = list(messages_code.texts())
    assert {text.kind for text in found} == {kind}
    problems = "\n".join(messages_page.unknown(KNOWN, found))
    assert all(f"module.py: {text.text!r} ({kind}) is not in" in problems for text in found)


def test_an_entry_without_a_text_is_found() -> None:
    found = list(messages_code.texts())
    old = {**KNOWN, "error": {**KNOWN["error"], "it was said once": {}}}
    assert list(messages_page.unknown(old, found)) == [
        "messages.yml: 'it was said once' (error) is no text of the code"
    ]


def test_what_no_person_reads_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docstrings, annotations, words that are looked for in others' messages, and what only the debug log has."""
    code = '''def speak(name: "Mapping[str, str] | None") -> "tuple[str, str]":
    """Say something here."""
    logger().debug("it is away: %s", name)
    with guard("reading the name"):
        return "is away now" in name
'''
    monkeypatch.setattr(messages_code, "PACKAGE", tmp_path)
    (tmp_path / "module.py").write_text(code)
    assert list(messages_code.texts()) == []


@pytest.mark.parametrize("command", KNOWN["usage"])
def test_wrong_usage_is_answered_as_the_page_says(command: str) -> None:
    done = CliRunner().invoke(main, shlex.split(command)[1:], prog_name="autoinstrument")
    assert done.exit_code == 2
    (line,) = (line for line in done.output.splitlines() if line.startswith("Error: "))
    assert matches(f"Error: {KNOWN['usage'][command]}\n", line)


def test_each_result_of_sync_is_explained() -> None:
    assert set(re.findall(r'"([a-z ]+)"', str(Outcome.__doc__).partition("detail:")[0])) - {"failed"} == (
        set(KNOWN["results"]) - {"failed"}
    )


def test_each_finding_that_may_be_a_problem_has_a_remedy() -> None:
    modules = [module for modules in messages_page.MODULES_OF.values() for module in modules]
    found = [finding for module in modules for finding in messages_code.findings(module)]
    assert [finding.place for finding in found if finding.may_fail and not finding.remedies] == []
