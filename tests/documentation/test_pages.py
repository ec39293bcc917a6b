"""Pages are short, generated pages are up to date, and the convention for commands works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from autoinstrument.versions import NEWEST_PYTHON, OLDEST_PYTHON
from tests.documentation.pages import commands, matches, unmarked
from tests.startup.environment import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCES = {"clearml-settings", "commands", "messages", "mlflow-calls", "settings", "what-is-mirrored"}
"""Reference pages, which may be longer than the others."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_short_and_describe_their_pictures(page: Path) -> None:
    """README in one screen and some links, other pages in five minutes; pictures say in words what they show."""
    text = page.read_text("utf-8")
    if page.stem not in REFERENCES:
        assert len(text.split()) <= (900 if page.stem == "README" else 1200)
    pictures = re.findall(r"!\[([^]]*)\]", text)
    pictures += [(re.findall(r'alt="([^"]*)"', picture) or [""])[0] for picture in re.findall(r"<img[^>]*>", text)]
    assert [picture for picture in pictures if len(picture) < 5] == []


@pytest.mark.parametrize(
    "word", ["sweep", "kubernetes", "notebook", "privacy", "upgrade", "uninstall", "metric", "docker"]
)
def test_a_heading_has_what_readers_search_for(word: str) -> None:
    """The site's search looks into headings first."""
    headings = [line for page in PAGES for line in re.findall(r"^#+ .+", page.read_text("utf-8"), re.M)]
    assert [heading for heading in headings if word in heading.lower()]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


def test_the_badges_are_true() -> None:
    badge = (ROOT / "docs" / "pictures" / "badge-python.svg").read_text("utf-8")
    shown = " to ".join(".".join(map(str, version)) for version in (OLDEST_PYTHON, NEWEST_PYTHON))
    assert f"python: {shown}<" in badge


@pytest.mark.parametrize("name", ["commands", "messages", "settings"])
def test_a_generated_page_is_up_to_date(name: str) -> None:
    """`python docs/commands_page.py`, for example, writes it anew."""
    code = f"import sys; sys.path.insert(0, 'docs'); import {name}_page; sys.stdout.write({name}_page.page())"
    written = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / f"{name}.md").read_text("utf-8") == written


def test_a_command_has_its_continuation_and_its_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run first: cd x -->\n```console\n$ one \\\n> more\nsaid\n$ two\n```\n\n```python\n$ none\n```\n"
    )
    assert [command[1:] for command in commands(page)] == [("cd x", None), ("one \\\nmore", "said\n"), ("two", None)]


def test_a_block_without_the_convention_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nrm -r x\n```\n\n    pip install x\n")
    assert unmarked(page) == ["    pip install x"]
    with pytest.raises(ValueError, match=r"page\.md:2"):
        commands(page)
    page.write_text("```text\n$ sum x\npip install x\npiped\n```\n")
    assert unmarked(page) == ["$ sum x", "pip install x"]
    page.write_text("<!-- not run: it would remove x -->\n```bash\nrm -r x\n```\n")
    assert commands(page) == []


def test_three_dots_stand_for_anything() -> None:
    assert matches("run … is done\n", "run a-b-1 is done\n")
    assert not matches("run … is done\n", "run a-b-1 is done\nmore\n")
    assert matches("one\n…\nlast\n", "one\n2\n3\nlast\n")
    assert matches("one\n…\nlast\n", "one\nlast\n")
