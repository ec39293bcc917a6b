"""The description of the training process, made by real processes that were started in every possible way."""

from __future__ import annotations

import getpass
import json
import os
import platform
import sys
import textwrap
import time
import zipapp
from pathlib import Path
from types import ModuleType

import pytest

from autoinstrument.capture.process import Changes
from autoinstrument.records import ProcessStarted, from_json, to_json

pytestmark = pytest.mark.interpreter
ROOT = Path(__file__).parents[3]

DESCRIBE = """
import json
from autoinstrument.capture.process import Changes
print(json.dumps(Changes().describe()))
"""


def described(output: str) -> ProcessStarted:
    return ProcessStarted(*json.loads(output.strip().splitlines()[-1]))


def test_script(tmp_path, run):
    script = tmp_path / "train.py"
    script.write_text(DESCRIBE)
    process = described(run("train.py", "--lr", "0.1", cwd=tmp_path))
    assert (process.main_kind, process.main_path, process.main_module) == ("script", str(script), "")
    assert process.argv == ["train.py", "--lr", "0.1"]
    assert process.arguments == [["argv", "--lr 0.1", ""]]
    assert process.cwd == str(tmp_path)
    assert process.python == platform.python_version()
    assert process.user == getpass.getuser()
    assert process.host == platform.node()
    assert "json" in process.modules
    assert str(tmp_path) in process.sys_path
    assert abs(process.started_ms / 1000 - time.time()) < 20


def test_module(tmp_path, run):
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "train.py").write_text(DESCRIBE)
    process = described(run("-m", "pkg.train", cwd=tmp_path))
    assert (process.main_kind, process.main_module) == ("module", "pkg.train")
    assert process.main_path == str(package / "train.py")


def test_package_run_by_its_name(tmp_path, run):
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(DESCRIBE)
    process = described(run("-m", "pkg", cwd=tmp_path))
    assert (process.main_kind, process.main_module) == ("module", "pkg")
    assert process.main_path == str(package / "__main__.py")


@pytest.mark.parametrize("options", [["-c"], ["-X", "utf8", "-W", "ignore", "-Bc"], ["-Wignore", "-X", "dev", "-c"]])
def test_command(tmp_path, run, options):
    process = described(run(*options, DESCRIBE, "--lr", "-c", cwd=tmp_path))
    assert (process.main_kind, process.main_path, process.source) == ("command", "", DESCRIBE)


def test_command_joined_to_its_option(run):
    code = "import json;from autoinstrument.capture.process import Changes;print(json.dumps(Changes().describe()))"
    assert described(run(f"-c{code}")).source == code


def test_standard_input(run):
    process = described(run(stdin=DESCRIBE))
    assert (process.main_kind, process.main_path, process.source) == ("interactive", "", "")


def test_folder_with_a_main_module(tmp_path, run):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "__main__.py").write_text(DESCRIBE)
    process = described(run("app", cwd=tmp_path))
    assert (process.main_kind, process.main_path) == ("script", str(folder / "__main__.py"))


def test_zip_archive(tmp_path, run):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "__main__.py").write_text(DESCRIBE)
    zipapp.create_archive(folder, tmp_path / "app.pyz")
    process = described(run("app.pyz", cwd=tmp_path))
    assert (process.main_kind, process.main_path) == ("script", str(tmp_path / "app.pyz"))


def test_script_run_by_runpy(tmp_path, run):
    (tmp_path / "train.py").write_text(DESCRIBE)
    process = described(run("-c", "import runpy; runpy.run_path('train.py', run_name='__main__')", cwd=tmp_path))
    assert (process.main_kind, process.main_path) == ("script", str(tmp_path / "train.py"))


def test_script_under_a_profiler(tmp_path, run):
    (tmp_path / "train.py").write_text(DESCRIBE)
    output = run("-m", "cProfile", "-o", tmp_path / "profile", "train.py", cwd=tmp_path)
    process = described(output)
    assert (process.main_kind, process.main_path) == ("script", str(tmp_path / "train.py"))


@pytest.mark.parametrize(("module", "file"), [("pkg", "__main__.py"), ("pkg.train", "train.py"), ("alone", "")])
def test_module_under_a_profiler(tmp_path, run, module, file):
    path = tmp_path / "pkg" / file if file else tmp_path / "alone.py"
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    path.write_text(DESCRIBE)
    process = described(run("-m", "cProfile", "-o", tmp_path / "profile", "-m", module, "--lr", "1", cwd=tmp_path))
    assert (process.main_kind, process.main_module, process.main_path) == ("module", module, str(path))


def test_console_script(tmp_path, run):
    command = tmp_path / "bin" / "myproject-train"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{DESCRIBE}")
    process = described(run(command, cwd=tmp_path))
    assert (process.main_kind, process.main_path) == ("script", str(command))


def test_spawned_child_names_the_parents_script(tmp_path, run):
    script = tmp_path / "train.py"
    script.write_text(
        "import json, multiprocessing as mp\n"
        "from autoinstrument.capture.process import Changes\n"
        "def child(): print(json.dumps(Changes().describe()))\n"
        "if __name__ == '__main__':\n"
        "    p = mp.get_context('spawn').Process(target=child); p.start(); p.join()\n"
    )
    process = described(run("train.py", cwd=tmp_path))
    assert (process.main_kind, process.main_path) == ("script", str(script))


def test_describing_loads_next_to_nothing(run):
    """A process that has imported MLflow has all of these; what is checked is that nothing heavy is added."""
    output = run(
        "-c",
        "import re, sys, typing; before = set(sys.modules)\n"
        "from autoinstrument.capture.process import Changes\n"
        "Changes().describe(); print(*sorted(set(sys.modules) - before))",
    )
    added = {name for name in output.split() if not name.startswith("autoinstrument")}
    assert added <= {"shlex", "pwd", "__future__"}


def test_describing_survives_a_strange_main_module(run):
    output = run(
        "-c",
        "import sys, json, types\n"
        "from autoinstrument.capture.process import Changes\n"
        "sys.modules['IPython'] = types.ModuleType('IPython')\n"
        "class Odd: __slots__ = (); __class__ = property(lambda self: types.ModuleType)\n"
        "sys.modules['odd'] = Odd()\n"
        "sys.modules[3] = None; sys.path.append(4); sys.modules['hydra.utils'] = types.ModuleType('hydra.utils')\n"
        "main = sys.modules.pop('__main__'); del sys.argv\n"
        "print(json.dumps(Changes().describe())); sys.modules['__main__'] = main",
    )
    assert described(output).main_kind == "interactive"


def test_deleted_working_directory(tmp_path, run):
    code = f"import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir({str(tmp_path / 'gone')!r})\n" + DESCRIBE
    assert described(run("-c", code, cwd=tmp_path)).cwd == ""


def test_hydras_own_folder_is_not_the_working_directory(tmp_path, run):
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").touch()
    (tmp_path / "hydra" / "utils.py").write_text("def get_original_cwd(): return '/started/here'")
    (tmp_path / "train.py").write_text("import hydra.utils\n" + DESCRIBE)
    assert described(run("train.py", cwd=tmp_path)).cwd == "/started/here"


def test_changes_are_reported_once():
    changes = Changes()
    first = changes.describe("/somewhere")
    assert first.cwd == "/somewhere"
    assert "sys" in first.modules
    assert changes.changed().modules == []
    sys.modules["made_for_this_test"] = os
    try:
        assert changes.changed().modules == ["made_for_this_test"]
    finally:
        del sys.modules["made_for_this_test"]
    assert changes.changed().modules == []


def test_description_is_json():
    assert ProcessStarted(*json.loads(json.dumps(Changes().describe()))).pid == os.getpid()


def test_a_record_of_an_older_version_is_read():
    """It lacks the fields that were added at the end; a capture that waits for `sync` outlives an upgrade."""
    process = Changes().describe()
    name, *fields = to_json(process)
    older = [name, *fields[: len(fields) - len(ProcessStarted._field_defaults)]]
    assert from_json(older) == process._replace(**ProcessStarted._field_defaults)
    with pytest.raises(ValueError, match="fields, expected"):
        from_json(older[:-1])


def test_own_files(tmp_path, run):
    """The user's own modules and files on the stack, without what is installed; no lazy module is loaded for it."""
    folder = tmp_path / "project"
    files = {
        folder / "pkg" / "__init__.py": "",
        folder / "pkg" / "step.py": """
            from autoinstrument.capture.own_files import on_stack
            def step(): return on_stack()
            """,
        folder / "site-packages" / "installed.py": "def call(function): return function()",
        folder / "lazy.py": "raise SystemExit('loaded')",
        folder / "train.py": """
            import importlib.util, json, sys
            sys.path += ['site-packages', '../far']
            import far, installed, pkg.step
            from autoinstrument.capture.process import Changes
            spec = importlib.util.find_spec('lazy')
            spec.loader = importlib.util.LazyLoader(spec.loader)
            sys.modules['lazy'] = lazy = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(lazy)
            print(json.dumps(Changes().describe('', installed.call(pkg.step.step))))
            """,
        tmp_path / "far" / "far.py": "",
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    process = described(run("train.py", cwd=folder))
    assert process.callers == [str(folder / "pkg" / "step.py"), str(folder / "train.py")]
    shown = [(name, os.path.relpath(file, folder)) for name, file in process.files.items()]
    assert shown[:-1] == [("pkg", "pkg/__init__.py"), ("pkg.step", "pkg/step.py"), ("lazy", "lazy.py")]
    assert shown[-1] == ("far", "../far/far.py")


PROGRAM = """
import argparse, json
from autoinstrument.integrations.argparse_values import watch
watch(argparse)
from autoinstrument.capture.process import Changes, program_now
parser = argparse.ArgumentParser()
parser.add_argument("--lr")
parser.parse_args()
"""
SHOW = "print('found', json.dumps([Changes().describe().main_kind, program_now()]))"


@pytest.fixture
def ipython(tmp_path, run):
    """Run IPython with a script `train.py` there; return what was found each time."""
    pytest.importorskip("IPython")
    (tmp_path / "train.py").write_text(f"{PROGRAM}\n{SHOW}\n")

    def ipython(*arguments, stdin=""):
        options = ["--no-banner", "--simple-prompt", "--no-confirm-exit", "--colors=NoColor"]
        env = {"IPYTHONDIR": str(tmp_path / "ipython")}
        printed = run("-m", "IPython", *options, *arguments, cwd=tmp_path, stdin=stdin, env=env)
        return [json.loads(line.partition("found ")[2]) for line in printed.splitlines() if "found [" in line]

    return ipython


def test_script_that_ipython_runs(tmp_path, ipython):
    ((kind, program),) = ipython("train.py", "--", "--lr", "0.2")
    assert (kind, program["main_kind"], program["main_path"]) == ("script", "script", str(tmp_path / "train.py"))
    assert program["arguments"] == [["lr", "0.2", "str"]]


def test_scripts_and_typed_lines_in_one_ipython_session(ipython):
    """`%run` is a script's run, also where it is run in the session's namespace; the lines typed are the session's."""
    session = f"%run train.py --lr 0.2\n{SHOW}\n%run -i train.py --lr 0.3\n{SHOW}\n"
    first, typed, second, again = ipython(stdin=session)
    assert [program["arguments"][0][1] for _, program in (first, second)] == ["0.2", "0.3"]
    assert [kind for kind, _ in (first, second)] == ["script", "script"]
    assert typed == again == ["interactive", {}]


def test_module_that_ipython_runs(tmp_path, ipython):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "train.py").rename(tmp_path / "pkg" / "train.py")
    ((kind, program),) = ipython("-m", "pkg.train", "--", "--lr", "0.2")
    assert (kind, program["main_module"], program["arguments"][0][1]) == ("module", "pkg.train", "0.2")


def test_notebook_cells(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})",
        "%time y = 2",
        "raise ValueError",
        "%run train.py --lr 0.2",
        DESCRIBE,
    ]
    (tmp_path / "train.py").write_text(f"{PROGRAM}\n{SHOW}\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, kernel_name="python3", allow_errors=True, timeout=60).execute(cwd=str(tmp_path))
    kind, program = json.loads("".join(book.cells[-2].outputs[0]["text"]).removeprefix("found "))
    assert (kind, program["main_path"]) == ("script", str(tmp_path / "train.py"))
    assert program["arguments"] == [["lr", "0.2", "str"]]
    process = described("".join(book.cells[-1].outputs[0]["text"]))
    assert process.main_kind == "notebook"
    assert process.source.startswith(f"# %%\n{cells[0]}\n\n# %%\n%time y = 2\n\n")
    assert process.source.rstrip().endswith("print(json.dumps(Changes().describe()))")


# What a process is called where the platform has no names of machines and users as POSIX has them

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def test_names_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delattr(os, "uname")
    monkeypatch.delattr(os, "getuid")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("COMPUTERNAME", "LAB-7")
    process = Changes().describe()
    assert (process.host, process.user) == ("LAB-7", "")
    monkeypatch.setenv("USERNAME", "ada")
    assert Changes().describe().user == "ada"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_container_whose_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    assert Changes().describe().user == ""


def test_the_time_is_one_at_which_the_process_is_alive() -> None:
    before = int(time.time() * 1000)
    assert before <= Changes().describe().started_ms <= int(time.time() * 1000)


@pytest.mark.parametrize(
    ("command", "source"),
    [
        (["python", "-Xdev", "-Bc", "import train", "-x"], "import train"),
        (["python", "-m", "debugpy", "--listen", "5678", "-c", "import train"], ""),
    ],
)
def test_the_text_of_a_command(monkeypatch: pytest.MonkeyPatch, command: list[str], source: str) -> None:
    """A debugger sets `sys.argv` as Python would, and does not show the text."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(sys, "orig_argv", command)
    monkeypatch.setattr(sys, "argv", ["-c"])
    process = Changes().describe()
    assert (process.main_kind, process.source) == ("command", source)
