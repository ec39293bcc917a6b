"""The modules that an interpreter loads at its start with the switch off and on, however it is started."""

from __future__ import annotations

import sys

import pytest

LOADED = "import sys, json; print(json.dumps(sorted(sys.modules)))"
FINDERS = "import sys, json; print(json.dumps([type(finder).__name__ for finder in sys.meta_path]))"
ON = {"AUTOINSTRUMENT_ENABLED": "1"}
PACKAGE = {
    "autoinstrument",
    "autoinstrument.bootstrap",
    "autoinstrument.bootstrap.import_hook",
    "autoinstrument.bootstrap.program",
    "autoinstrument.bootstrap.training_around",
    "autoinstrument.switch",
}


@pytest.mark.parametrize("env", [{}, {"AUTOINSTRUMENT_ENABLED": ""}, {"AUTOINSTRUMENT_HOME": "/tmp/a"}])
def test_not_set_loads_nothing_at_all(pair, env):
    """PEP 829's .start files, from Python 3.15 on, name a function of a package, which is loaded then."""
    bare = set(pair.bare.result("-c", LOADED, env=env))
    loaded = {"autoinstrument"} if sys.version_info >= (3, 15) else set()
    assert set(pair.installed.result("-c", LOADED, env=env)) - bare == loaded


@pytest.mark.parametrize("value", [" ", "0", "false", "off", "no", "banana", "2", "1 1"])
def test_off_loads_the_empty_package_and_the_words_of_the_switch(pair, value):
    """No other module of the package or of the standard library."""
    env = {"AUTOINSTRUMENT_ENABLED": value}
    bare = set(pair.bare.result("-c", LOADED, env=env))
    words = {"autoinstrument.switch"} if value.strip() else set()
    assert set(pair.installed.result("-c", LOADED, env=env)) - bare == {"autoinstrument"} | words


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "Yes", "on", " 1 "])
def test_on_loads_the_finder_and_no_other_module(pair, value):
    """Not wrapt, ClearML or MLflow, and of the standard library not even what Python has not loaded already."""
    bare = set(pair.bare.result("-c", LOADED))
    assert set(pair.installed.result("-c", LOADED, env={"AUTOINSTRUMENT_ENABLED": value})) - bare == PACKAGE


def test_on_stays_so_until_mlflow_is_imported(pair):
    """Whatever else the program imports: only argparse is watched, at the cost of four small files."""
    code = (
        "import argparse, asyncio, email, functools, http.client, json, logging, sqlite3, typing, unittest; " + LOADED
    )
    bare = set(pair.bare.result("-c", code))
    extra = set(pair.installed.result("-c", code, env=ON)) - bare
    own = {
        "autoinstrument.integrations",
        "autoinstrument.integrations.argparse_values",
        "autoinstrument.integrations.parsed_arguments",
        "autoinstrument.tracebacks",
    }
    assert extra == PACKAGE | own | {"__future__"}


def test_on_prints_nothing_even_where_warnings_are_errors(light):
    done = light.run(
        "-W", "error", "-X", "dev", "-bb", "-c", "import argparse; argparse.ArgumentParser().parse_args()", env=ON
    )
    assert (done.stdout, done.stderr) == ("", "")


def is_armed(finders: list[str]) -> bool:
    assert finders.count("AfterImport") <= 1
    return "AfterImport" in finders


@pytest.mark.parametrize("options", [[], ["-E"], ["-I"], ["-s"], ["-Es"], ["-B", "-X", "utf8"], ["-P"]], ids=" ".join)
def test_armed_under_each_option(light, options):
    """`-E` and `-I` hide PYTHON* variables; the switch is not one of them."""
    if options == ["-P"] and "3.10" in str(light.site_packages):
        pytest.skip("-P came with Python 3.11")
    assert is_armed(light.result(*options, "-c", FINDERS, env=ON))


def test_armed_in_a_script_a_module_a_folder_and_standard_input(light, tmp_path):
    for name in ("train.py", "job/__main__.py", "job/train.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FINDERS)
    for arguments in (["train.py"], ["-m", "train"], ["-m", "job"], ["-Im", "timeit"], ["-m", "job.train"], ["job"]):
        if arguments == ["-Im", "timeit"]:  # no module of the working directory under -I
            setup = "import sys; assert type(sys.meta_path[0]).__name__ == 'AfterImport'"
            light.run(*arguments, "-n1", "-r1", "-s", setup, env=ON)
        else:
            assert is_armed(light.result(*arguments, cwd=tmp_path, env=ON)), arguments
    assert is_armed(light.result(stdin=FINDERS, env=ON))
    assert is_armed(light.result("-", stdin=FINDERS, env=ON))


def test_armed_in_processes_that_the_program_starts(light, tmp_path):
    (tmp_path / "train.py").write_text(
        "import json, multiprocessing, sys\n"
        "def finders(_): return [type(finder).__name__ for finder in sys.meta_path]\n"
        "if __name__ == '__main__':\n"
        "    found = []\n"
        "    for method in ('spawn', 'fork', 'forkserver'):\n"
        "        with multiprocessing.get_context(method).Pool(1) as pool:\n"
        "            found += pool.map(finders, [0])\n"
        "    print(json.dumps(found))\n"
    )
    found = light.result("train.py", cwd=tmp_path, env=ON)
    assert [is_armed(finders) for finders in found] == [True] * 3


def test_nothing_under_dash_S(pair):
    assert set(pair.installed.result("-S", "-c", LOADED, env=ON)) == set(pair.bare.result("-S", "-c", LOADED))


def test_started_twice_is_armed_once(light):
    """Two start-up files, or a call in the program as well."""
    code = "from autoinstrument import init; from autoinstrument.bootstrap.import_hook import arm; init(); arm(); arm()"
    code = f"{code}; {FINDERS}"
    assert light.result("-c", code, env=ON).count("AfterImport") == 1


def test_armed_once_where_the_package_was_loaded_anew(light):
    """Tests and notebook extensions drop packages from sys.modules to import them again."""
    drop = "import sys; [sys.modules.pop(name) for name in list(sys.modules) if name.startswith('autoinstrument')]; "
    code = f"{drop} import autoinstrument; autoinstrument.init(); {FINDERS}"
    assert light.result("-c", code, env=ON).count("AfterImport") == 1


def test_environment_arguments_and_path_are_left_as_they_were(pair):
    code = (
        "import os, sys, json; print(json.dumps([sorted(os.environ), sys.path[1:3], sys.warnoptions, sys.argv,"
        " sys.flags.dev_mode, repr(sys.excepthook), repr(sys.stdout.write)[:40], dir(sys)]))"
    )
    on, bare = (environment.result("-c", code, env=ON) for environment in pair)
    on[0].remove("AUTOINSTRUMENT_ENABLED"), bare[0].remove("AUTOINSTRUMENT_ENABLED")
    assert on == bare
