"""`sitecustomize_template` on PYTHONPATH, where nothing is installed: it arms, and runs the next one on the path."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.startup.environment import ROOT, Environment

TEMPLATE = ROOT / "sitecustomize_template"
ARMED = "import sys; print('armed' if type(sys.meta_path[0]).__name__ == 'AfterImport' else 'not armed')"
OTHER = "import sys\nprint('{name}', sys.modules['sitecustomize'].__file__ == __file__, __name__)\n"


@pytest.fixture
def bare(pair) -> Environment:
    return pair.bare


@pytest.fixture
def run(bare, tmp_path):
    """Run code with folders on PYTHONPATH and the switch on, and return (lines of stdout, stderr)."""

    def run(*folders, code=ARMED, on="1", options=(), cwd=tmp_path):
        path = os.pathsep.join(map(str, folders))
        done = bare.run(*options, "-c", code, env={"PYTHONPATH": path, "AUTOINSTRUMENT_ENABLED": on}, cwd=cwd)
        return done.stdout.splitlines(), done.stderr

    return run


@pytest.fixture
def other(tmp_path):
    """Write another tool's sitecustomize, and return its folder."""

    def write(name: str = "other", text: str = OTHER) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(text.replace("{name}", name))
        return folder

    return write


@pytest.fixture
def copy(tmp_path):
    def write(name: str) -> Path:
        return Path(shutil.copytree(TEMPLATE, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")))

    return write


def test_arms_and_no_next_one_is_fine(run):
    assert run(TEMPLATE, ROOT) == (["armed"], "")


def test_off_is_off(run):
    assert run(TEMPLATE, ROOT, on="0") == (["not armed"], "")


def test_without_the_package_nothing_happens(run):
    assert run(TEMPLATE) == (["not armed"], "")


def test_a_broken_package_is_silent(run, tmp_path):
    (tmp_path / "autoinstrument.py").write_text("def init(:")
    assert run(TEMPLATE, tmp_path) == (["not armed"], "")


@pytest.mark.parametrize("on", ["0", "1"])
def test_the_next_one_runs_as_sitecustomize(run, other, on):
    lines, stderr = run(TEMPLATE, ROOT, other(), on=on)
    assert (lines[0], stderr) == ("other True sitecustomize", "")
    assert lines[1:] == ["armed" if on == "1" else "not armed"]


def test_the_next_one_runs_without_the_package_too(run, other):
    assert run(TEMPLATE, other()) == (["other True sitecustomize", "not armed"], "")


def test_the_next_one_is_what_the_program_sees(run, other):
    code = "import sitecustomize; print(sitecustomize.value, sitecustomize.__spec__.origin == sitecustomize.__file__)"
    assert run(TEMPLATE, ROOT, other(text="value = 42\n"), code=code) == (["42 True"], "")


def test_only_the_next_one_runs_as_python_itself_would_have_it(run, other):
    lines, _ = run(TEMPLATE, ROOT, other("first"), other("second"))
    assert lines == ["first True sitecustomize", "armed"]


def test_one_before_it_wins(run, other):
    """Then the agent's file does not run: Python runs the first one alone."""
    assert run(other(), TEMPLATE, ROOT) == (["other True sitecustomize", "not armed"], "")


@pytest.mark.parametrize(
    "text",
    ["1 / 0\n", "import no_such_module\n", "raise ImportError('x', name='sitecustomize')\n", "def broken(:\n"],
    ids=["error", "import error", "import error of its own name", "syntax error"],
)
def test_an_exception_of_the_next_one_is_reported_as_without_the_agent(run, other, text):
    folder = other(text=text)
    assert run(TEMPLATE, ROOT, folder)[1] == run(folder)[1]
    code = "import sys; print('sitecustomize' in sys.modules)"
    assert run(TEMPLATE, ROOT, folder, code=code)[0] == run(folder, code=code)[0]


def test_an_exit_of_the_next_one_ends_the_process(bare, other):
    folder = other(text="import sys; sys.stdout.flush(); import os; os._exit(0) if 'x' in os.environ else None\n")
    path = os.pathsep.join(map(str, (TEMPLATE, ROOT, folder)))
    assert bare.run("-c", "print(1)", env={"PYTHONPATH": path, "x": "1"}).stdout == ""


def test_entries_that_are_relative_doubled_or_links_are_the_same_folder(run, other, copy, tmp_path):
    agent, next_one = copy("agent"), other()
    link = tmp_path / "link"
    link.symlink_to(agent)
    ends = (["other True sitecustomize", "armed"], "")
    assert run("agent", ROOT, next_one) == ends
    assert run("agent", agent, link, ROOT, next_one) == ends
    assert run(link, agent, "./agent/", ROOT, next_one) == ends
    assert run(f"{agent}/", "", "missing", ROOT, next_one) == ends
    assert run(link, ROOT) == (["armed"], "")
    assert run("", ROOT, next_one, cwd=agent) == ends


def test_two_copies_end_and_the_next_one_still_runs(run, other, copy):
    first, second = copy("first"), copy("second")
    assert run(first, second, ROOT) == (["armed"], "")
    assert run(first, second, first, ROOT, other()) == (["other True sitecustomize", "armed"], "")


def test_another_tool_that_chains_as_well_does_not_loop(run, other, copy):
    """New Relic's file looks for the first one on the path except itself, and so finds the agent's again."""
    chaining = other(
        "chaining",
        "import os, sys\n"
        "from importlib.machinery import PathFinder\n"
        "from importlib.util import module_from_spec\n"
        "print('chaining')\n"
        "path = [entry for entry in sys.path if entry != os.path.dirname(__file__)]\n"
        "spec = PathFinder.find_spec('sitecustomize', path)\n"
        "if spec:\n"
        "    module = sys.modules['sitecustomize'] = module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n",
    )
    assert run(TEMPLATE, chaining, ROOT) == (["chaining", "armed"], "")
    last = other("last")
    assert run(TEMPLATE, chaining, ROOT, last) == (["chaining", "last True sitecustomize", "armed"], "")
    assert run(chaining, TEMPLATE, ROOT, last) == (["chaining", "last True sitecustomize", "armed"], "")


def test_runs_from_a_zip_file(run, other, tmp_path):
    with zipfile.ZipFile(tmp_path / "agent.zip", "w") as archive:
        archive.write(TEMPLATE / "sitecustomize.py", "sitecustomize.py")
    assert run(tmp_path / "agent.zip", ROOT, other()) == (["other True sitecustomize", "armed"], "")


def test_a_deleted_working_directory_does_not_matter(run, tmp_path):
    code = (
        "import os, subprocess, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); "
        "subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    )
    lines, stderr = run(TEMPLATE, ROOT, code=code.replace("sys.argv[1]", repr(ARMED)))
    assert (lines, stderr) == (["armed"], "")


def test_not_read_under_options_that_hide_the_path(run):
    assert run(TEMPLATE, ROOT, options=["-I"]) == (["not armed"], "")
    assert run(TEMPLATE, ROOT, options=["-E"]) == (["not armed"], "")


def test_beside_the_installed_wheel_it_is_armed_once(light, tmp_path):
    code = "import sys; print([type(finder).__name__ for finder in sys.meta_path].count('AfterImport'))"
    env = {"PYTHONPATH": str(TEMPLATE), "AUTOINSTRUMENT_ENABLED": "1"}
    assert light.result("-c", code, env=env) == 1
