"""The script section of a Task: what an agent gets must run as the original did.

`checked_out` does with a section what clearml-agent 3.0.3 does: clone, check out, apply the diff or write it to a file.
"""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoinstrument.capture import git as git_module
from autoinstrument.capture import git_files
from autoinstrument.capture.script_section import script_of
from autoinstrument.capture.settings import CaptureSettings
from tests.unit.repositories import Repository


@pytest.fixture
def section(process):
    def section(main: Path | None = None, cwd: Path | None = None, from_remote=False, stored=True, **fields):
        if main is not None:
            fields = {"main_kind": "script", "main_path": str(main), **fields}
        if cwd is not None:
            fields["cwd"] = str(cwd)
        section.lacks = []
        return script_of(process._replace(**fields), lambda: CaptureSettings(stored, from_remote), section.lacks.append)

    return section


@pytest.fixture
def execute(tmp_path):
    """Run a script section as an agent does; return what the code printed."""

    def execute(script):
        place = tmp_path / "agent"
        literal = script.diff and not script.diff.lower().startswith(("diff ", "submodule "))
        if script.repository:
            subprocess.run(["git", "clone", "-q", script.repository, place], check=True)
            subprocess.run(["git", "checkout", "-q", script.version_num], cwd=place, check=True, capture_output=True)
        else:
            place.mkdir()
            assert script.working_dir == "."
        folder = place / script.working_dir
        entry = shlex.split(script.entry_point)
        if literal:
            target = folder / (Path(entry[0]).name if entry[0] != "-m" else "untitled.py")
            if not target.exists():
                target.write_text(script.diff)
        elif script.diff:
            applied = subprocess.run(
                ["git", "apply", "--unidiff-zero"], cwd=place, input=script.diff.encode() + b"\n", capture_output=True
            )
            assert applied.returncode == 0, (applied.stderr, script.diff)
        done = subprocess.run([sys.executable, "-B", *entry], cwd=folder, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}"

    return execute


def test_committed_script(repository, section, execute):
    script = section(repository.root / "train.py", repository.root)
    assert script == (
        str(repository.remote), "main", repository.git("rev-parse", "HEAD"), "train.py", ".", "", "python3.11",
    )  # fmt: skip
    assert execute(script) == "one\n"


def test_uncommitted_changes_travel(repository, section, execute):
    repository.write("train.py", "print('two')\n")
    script = section(repository.root / "train.py", repository.root)
    assert execute(script) == "two\n"


@pytest.mark.parametrize("main_kind", ["script", "notebook"])
def test_no_change_is_stored_if_clearml_is_configured_so(repository, section, main_kind):
    """Neither changes nor new files nor a notebook's cells, as with the SDK: `sdk.development` is its own setting."""
    repository.write("train.py", "import extra\n")
    repository.write("extra.py", "password = 1\n")
    code = {
        "main_kind": main_kind,
        "source": "password = 2\n",
        "modules": ["extra"],
        "sys_path": [str(repository.root)],
    }
    assert section(repository.root / "train.py", repository.root, **code).diff
    script = section(repository.root / "train.py", repository.root, stored=False, **code)
    assert (script.diff, script.version_num) == ("", repository.git("rev-parse", "HEAD"))


def test_no_script_is_stored_if_clearml_is_configured_so(tmp_path, section, monkeypatch):
    (tmp_path / "train.py").write_text("password = 1\n")
    monkeypatch.setenv("CLEARML_VCS_DIFF", base64.b64encode(b"password = 2").decode())
    script = section(tmp_path / "train.py", tmp_path, stored=False)
    assert (script.diff, script.entry_point) == ("", "train.py")


def test_staged_changes_travel(repository, section, execute):
    repository.write("helper.py", "x = 'staged'\n")
    repository.write("train.py", "import helper; print(helper.x)\n")
    repository.git("add", ".")
    assert execute(section(repository.root / "train.py", repository.root)) == "staged\n"


def test_working_directory_below_the_root(repository, section, execute):
    script = section(repository.root / "train.py", repository.root / "src")
    assert (script.entry_point, script.working_dir) == ("../train.py", "src")
    assert execute(script) == "one\n"


def test_working_directory_outside(tmp_path, repository, section, execute):
    script = section(repository.root / "src/pkg/train.py", tmp_path)
    assert (script.entry_point, script.working_dir) == ("src/pkg/train.py", ".")
    assert execute(script) == "module\n"


def test_module(repository, section, execute):
    file = repository.root / "src/pkg/train.py"
    script = section(file, repository.root / "src", main_kind="module", main_module="pkg.train")
    assert (script.entry_point, script.working_dir) == ("-m pkg.train", "src")
    assert execute(script) == "module\n"


def test_module_of_a_src_folder_that_the_working_directory_does_not_hold(repository, section, execute):
    file = repository.root / "src/pkg/train.py"
    script = section(file, repository.root, main_kind="module", main_module="pkg.train")
    assert (script.entry_point, script.working_dir) == ("-m pkg.train", "src")
    assert execute(script) == "module\n"


def test_package_run_by_its_name(repository, section, execute):
    file = repository.write("src/pkg/__main__.py", "print('package')\n")
    script = section(file, repository.root / "src", main_kind="module", main_module="pkg")
    assert script.entry_point == "-m pkg"
    assert execute(script) == "package\n"


def test_installed_module_runs_in_the_repository_of_the_working_directory(tmp_path, repository, section):
    file = tmp_path / "venv/lib/python3.11/site-packages/tool/train.py"
    file.parent.mkdir(parents=True)
    file.touch()
    script = section(file, repository.root / "src", main_kind="module", main_module="tool.train")
    assert (script.repository, script.entry_point, script.working_dir) == (
        str(repository.remote), "-m tool.train", "src",
    )  # fmt: skip
    script = section(file, tmp_path, main_kind="module", main_module="tool.train")
    assert (script.repository, script.entry_point, script.diff) == ("", "-m tool.train", "")


def test_arguments_that_argparse_has_read_are_left_to_the_task(repository, section):
    script = section(repository.root / "train.py", repository.root, arguments=[("lr", "0.1", "float")])
    assert script.entry_point == "train.py"


def test_arguments_that_no_parser_has_read_stay_with_the_script(repository, section, execute):
    repository.write("train.py", "import sys; print(sys.argv[1:])\n")
    script = section(repository.root / "train.py", repository.root, arguments=[("argv", "--lr 0.1 'a b'", "")])
    assert script.entry_point == "train.py --lr 0.1 'a b'"
    assert execute(script) == "['--lr', '0.1', 'a b']\n"


def test_script_with_a_space_in_its_name_and_arguments(repository, section, execute):
    repository.write("my train.py", "import sys; print(sys.argv[1:])\n")
    script = section(repository.root / "my train.py", repository.root, arguments=[("argv", "--lr 0.1", "")])
    assert execute(script) == "['--lr', '0.1']\n"


def test_script_of_the_repositorys_own_bin_folder(repository, section, execute):
    repository.write("bin/train", "import sys; print('bin', sys.argv[1:])\n")
    repository.commit()
    repository.push()
    script = section(repository.root / "bin/train", repository.root, arguments=[("argv", "--lr 0.1", "")])
    assert (script.entry_point, script.diff) == ("bin/train --lr 0.1", "")
    assert execute(script) == "bin ['--lr', '0.1']\n"


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://user:token@host/team/a.git", "https://host/team/a.git"),
        ("https://token@host/team/a.git", "https://host/team/a.git"),
        ("https://u@example.com:p@host:8443/a.git", "https://host:8443/a.git"),
        ("git@host:team/a.git", "git@host:team/a.git"),
        ("ssh://git:secret@host:22/a.git", "ssh://git@host:22/a.git"),
        ("ssh://git@host/a.git", "ssh://git@host/a.git"),
    ],
)
def test_credentials_are_stripped_from_the_remote(repository, section, remote, shown):
    repository.git("remote", "set-url", "origin", remote)
    assert section(repository.root / "train.py", repository.root).repository == shown


def test_remote_of_the_branch_is_preferred_to_origin(tmp_path, repository, section):
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "fork.git"], check=True)
    repository.git("remote", "add", "fork", str(tmp_path / "fork.git"))
    repository.git("checkout", "-q", "-b", "mine")
    repository.git("push", "-q", "-u", "fork", "mine:theirs")
    script = section(repository.root / "train.py", repository.root)
    assert (script.repository, script.branch) == (str(tmp_path / "fork.git"), "theirs")


def test_the_only_remote_need_not_be_called_origin(repository, section):
    repository.git("remote", "rename", "origin", "upstream")
    assert section(repository.root / "train.py", repository.root).repository == str(repository.remote)


def test_detached_head(repository, section, execute):
    repository.git("checkout", "-q", "--detach")
    script = section(repository.root / "train.py", repository.root)
    assert (script.branch, script.version_num) == ("", repository.git("rev-parse", "HEAD"))
    assert execute(script) == "one\n"


def test_unpublished_commits_travel_as_changes_where_asked(repository, section, execute):
    published = repository.git("rev-parse", "HEAD")
    repository.write("train.py", "print('local commit')\n")
    repository.commit()
    script = section(repository.root / "train.py", repository.root, from_remote=True)
    assert script.version_num == published
    assert execute(script) == "local commit\n"


def test_worktree(tmp_path, repository, section, execute):
    repository.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side" / "train.py").write_text("print('side')\n")
    script = section(tmp_path / "side" / "train.py", tmp_path / "side")
    assert (script.repository, script.branch) == (str(repository.remote), "side")
    assert execute(script) == "side\n"


def test_script_in_a_submodule(tmp_path, repository, section):
    outer = Repository(tmp_path / "outer", tmp_path / "outer.git")
    outer.git("submodule", "-q", "add", str(repository.remote), "lib")
    outer.commit()
    script = section(outer.root / "lib" / "train.py", outer.root / "lib")
    assert (script.repository, script.entry_point) == (str(repository.remote), "train.py")


def test_changes_inside_a_submodule_travel(tmp_path, repository, section, execute):
    outer = Repository(tmp_path / "outer", tmp_path / "outer.git")
    outer.git("submodule", "-q", "add", str(repository.remote), "lib")
    outer.write("main.py", "print('outer'); import lib.train\n")
    outer.commit()
    outer.push()
    (outer.root / "lib" / "new.txt").touch()
    (outer.root / "lib" / "train.py").write_text("print('changed')\n")
    script = section(outer.root / "main.py", outer.root)
    assert script.diff.startswith("diff --git a/lib/train.py")
    assert "changed" in script.diff


def test_untracked_script_travels(repository, section, execute):
    repository.write("my new.py", "print('new')")
    script = section(repository.root / "my new.py", repository.root)
    assert script.repository == str(repository.remote)
    assert execute(script._replace(entry_point=shlex.quote(script.entry_point))) == "new\n"


def test_ignored_script_travels_with_other_changes(repository, section, execute):
    repository.write(".gitignore", "scratch*\n")
    repository.write("helper.py", "x = 'helped'\n")
    repository.commit()
    repository.push()
    repository.write("helper.py", "x = 'helped more'\n")
    script = repository.write("scratch.py", "import helper; print(helper.x)\n")
    assert execute(section(script, repository.root)) == "helped more\n"


def test_untracked_modules_that_were_loaded_travel(repository, section, execute):
    repository.write("train.py", "import helper, lib.part; print(helper.x, lib.part.y)\n")
    repository.write("helper.py", "x = 1\n")
    repository.write("lib/__init__.py", "")
    repository.write("lib/part.py", "y = 2\n")
    repository.write("unrelated.py", "SECRET = 3\n")
    script = section(
        repository.root / "train.py", repository.root,
        sys_path=[str(repository.root)], modules=["helper", "lib", "lib.part", "sys"],
    )  # fmt: skip
    assert "SECRET" not in script.diff
    assert execute(script) == "1 2\n"


def test_changed_binary_files_do_not_spoil_the_rest(repository, section, execute):
    repository.write("model.bin", bytes(range(256)))
    repository.write("latin.txt", "caf\xe9\n".encode("latin-1") * 3)
    repository.commit()
    repository.push()
    repository.write("model.bin", bytes(range(255, -1, -1)))
    repository.write("latin.txt", "caf\xe9\n".encode("latin-1") * 4)
    repository.write("train.py", "print('two')\n")
    script = section(repository.root / "train.py", repository.root)
    assert "model.bin" in script.diff
    assert "latin.txt" in script.diff
    assert execute(script) == "two\n"


def test_other_line_ends_travel(repository, section, execute):
    repository.write("train.py", "print('two')\r\nprint('three')\r\n")
    assert execute(section(repository.root / "train.py", repository.root)) == "two\nthree\n"


def test_the_users_git_settings_do_not_change_the_diff(repository, section, execute):
    settings = {
        "diff.noprefix": "true", "color.ui": "always", "diff.external": "false", "diff.mnemonicPrefix": "true",
        "core.quotePath": "false", "diff.context": "0", "core.pager": "false", "diff.relative": "true",
    }  # fmt: skip
    for name, value in settings.items():
        repository.git("config", name, value)
    repository.write("src/pkg/train.py", "print('inner')\n")
    repository.write("train.py", "import sys; sys.path.insert(0, '..'); print('two')\n")
    script = section(repository.root / "train.py", repository.root / "src")
    assert "inner" in script.diff
    assert execute(script) == "two\n"


def test_too_large_a_diff_is_replaced_by_a_note(repository, section, execute):
    repository.write("train.py", "print('two')\n" + "# padding\n" * 60_000)
    script = section(repository.root / "train.py", repository.root)
    assert len(script.diff) < 1000
    assert "660 kB" in script.diff
    assert "500 kB" in script.diff
    assert str(repository.root) in script.diff
    assert execute(script) == "one\n"


def test_too_large_a_diff_with_an_untracked_script_fails_instead_of_running_nothing(repository, section, execute):
    repository.write("new.py", "print('two')\n" + "# padding\n" * 60_000)
    assert "more than the 500 kB" in execute(section(repository.root / "new.py", repository.root))


def test_symbolic_link_to_the_script(tmp_path, repository, section, execute):
    link = tmp_path / "link.py"
    link.symlink_to(repository.root / "train.py")
    script = section(link, tmp_path)
    assert (script.repository, script.entry_point) == (str(repository.remote), "train.py")
    assert execute(script) == "one\n"


def test_working_directory_reached_through_a_symbolic_link(tmp_path, repository, section):
    (tmp_path / "link").symlink_to(repository.root)
    script = section(tmp_path / "link" / "src" / "pkg" / "train.py", tmp_path / "link" / "src")
    assert (script.entry_point, script.working_dir) == ("pkg/train.py", "src")


def test_script_that_was_deleted_meanwhile_is_the_committed_one(repository, section, execute):
    (repository.root / "train.py").unlink()
    script = section(repository.root / "train.py", repository.root)
    assert script.diff == ""
    assert execute(script) == "one\n"


def test_script_that_was_deleted_and_never_committed_fails_with_the_reason(tmp_path, repository, section, execute):
    script = section(tmp_path / "gone" / "train.py", tmp_path)
    assert "deleted" in script.diff
    assert "exit 1" in execute(script)
    assert "deleted" in section(repository.root / "new.py", repository.root).diff


class TestWithoutRepository:
    def test_script_at_the_root_of_a_container(self, section):
        script = section(Path("/not-there-train.py"), Path("/"))
        assert (script.entry_point, "deleted" in script.diff) == ("not-there-train.py", True)

    def test_script(self, tmp_path, section, execute):
        (tmp_path / "train.py").write_text("print('alone é')\n", encoding="utf-8")
        script = section(tmp_path / "train.py", tmp_path)
        assert script == ("", "", "", "train.py", ".", "print('alone é')\n", "python3.11")
        assert execute(script) == "alone é\n"

    def test_git_is_not_installed(self, repository, section, monkeypatch):
        monkeypatch.setenv("PATH", "/nonexistent")
        script = section(repository.root / "train.py", repository.root)
        monkeypatch.undo()
        assert (script.repository, script.version_num) == (str(repository.remote), repository.head)
        assert "there is no git program; install Git" in script.diff
        assert section.lacks == ["the uncommitted changes are not kept: there is no git program; install Git"]

    def test_no_commit_yet(self, tmp_path, section):
        young = Repository(tmp_path / "young", tmp_path / "r.git")
        young.write("train.py", "print('one')\n")
        script = section(young.root / "train.py", young.root)
        assert (script.repository, script.version_num, script.diff) == ("", "", "print('one')\n")

    def test_no_remote(self, tmp_path, section):
        """An agent cannot clone it: the text travels, and the Task names the commit."""
        lonely = Repository(tmp_path / "lonely", None)
        lonely.write("train.py", "print('one')\n")
        commit = lonely.commit()
        script = section(lonely.root / "train.py", lonely.root)
        assert (script.repository, script.branch, script.version_num) == ("", "main", commit)
        assert (script.entry_point, script.diff) == ("train.py", "print('one')\n")

    def test_script_without_suffix_and_arguments(self, tmp_path, section, execute):
        (tmp_path / "train").write_text("import sys; print(sys.argv[1:])\n")
        script = section(tmp_path / "train", tmp_path, arguments=[("argv", "--lr 1", "")])
        assert execute(script) == "['--lr', '1']\n"

    def test_large_script(self, tmp_path, section):
        (tmp_path / "train.py").write_text("#" * 600_000)
        assert "500 kB" in section(tmp_path / "train.py", tmp_path).diff

    def test_command(self, tmp_path, section, execute):
        script = section(cwd=tmp_path, main_kind="command", source="print('command')")
        assert (script.entry_point, script.diff) == ("command.py", "print('command')\n")
        assert execute(script) == "command\n"

    def test_notebook(self, tmp_path, section, execute):
        source = "# %%\n%matplotlib inline\nx = 1\n\n# %%\nprint(x)\n\n"
        script = section(cwd=tmp_path, main_kind="notebook", source=source)
        assert script.entry_point == "notebook.py"
        assert execute(script) == "1\n"

    def test_standard_input(self, tmp_path, section, execute):
        script = section(cwd=tmp_path)
        assert script.entry_point == "interactive.py"
        assert "exit 1" in execute(script)

    def test_console_script_with_arguments(self, tmp_path, section, execute):
        command = tmp_path / "venv" / "bin" / "my-train"
        command.parent.mkdir(parents=True)
        (tmp_path / "venv" / "pyvenv.cfg").touch()
        command.write_text("import sys; print('cli', sys.argv[1:])\n")
        script = section(command, tmp_path, arguments=[("argv", "--lr 1", "")])
        assert script.entry_point == "my-train.py --lr 1"
        assert execute(script) == "cli ['--lr', '1']\n"


class TestSeveralFilesWithoutRepository:
    """The program's own modules travel with it: an agent gets one script that holds all of them."""

    @pytest.fixture
    def project(self, tmp_path):
        """Write files, each by its path without the suffix; return their folder."""

        def project(files, root="project"):
            for name, text in files.items():
                path = tmp_path / root / f"{name}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="")
            return tmp_path / root

        return project

    def test_script_with_modules_beside_it(self, project, section, execute):
        """They are at the same places, and the file with the run's call comes first."""
        code = "import sys, lib.model, helper; print(lib.model.x, sys.argv[1:], open('helper.py').read(3))\n"
        model = "from helper import y\nx = y / 2\n"
        root = project({"train": code, "helper": "y = 2\n", "lib/__init__": "", "lib/model": model})
        loaded = {"helper": "helper.py", "lib": "lib/__init__.py", "lib.model": "lib/model.py"}
        script = section(
            root / "train.py", root, arguments=[("argv", "--lr 1", "")], sys_path=[str(root)],
            files={name: str(root / file) for name, file in loaded.items()},
            callers=[str(root / "lib" / "model.py"), str(root / "train.py")],
        )  # fmt: skip
        assert (script.repository, script.entry_point, script.working_dir) == ("", "train.py --lr 1", ".")
        shown = [line.split("'")[1] for line in script.diff.splitlines() if line.startswith("FILES['")]
        assert shown == ["lib/model.py", "train.py", "helper.py", "lib/__init__.py"]
        assert execute(script) == "1.0 ['--lr', '1'] y =\n"

    @pytest.mark.parametrize(("name", "entry"), [("serve", "run_serve.py"), ("my-serve", "my-serve.py")])
    def test_command_that_is_given_the_users_module(self, tmp_path, project, section, execute, name, entry):
        """As `uvicorn app:app`: the command's file must not hide the package of its name."""
        command = tmp_path / "venv" / "bin" / name
        command.parent.mkdir(parents=True)
        (tmp_path / "venv" / "pyvenv.cfg").touch()
        command.write_text("import importlib, sys\nimport serve\nserve.main(importlib.import_module(sys.argv[1]))\n")
        root = project({"app": "name = 'application'\n", "serve": "def main(app): print('serving', app.name)\n"})
        files = {"app": str(root / "app.py"), "serve": str(root / "serve.py")}
        arguments = [("argv", "app --port 80", "")]
        script = section(command, root, arguments=arguments, files=files, callers=[files["app"]], sys_path=["."])
        assert script.entry_point == f"{entry} app --port 80"
        assert script.diff.index("FILES['app.py']") < script.diff.index(f"FILES['{entry}']")
        assert execute(script) == "serving application\n"

    def test_installed_module_that_is_given_the_users_file(self, tmp_path, project, section, execute):
        """As `python -m pytest tests/test_train.py`."""
        root = project({"tests/test_train": "print('tested', __name__)\n"})
        file = tmp_path / "venv/lib/python3.11/site-packages/pdb.py"
        file.parent.mkdir(parents=True)
        file.touch()
        script = section(
            file, root, main_kind="module", main_module="runpy", arguments=[("argv", "test_train", "")],
            files={"test_train": str(root / "tests" / "test_train.py")},
        )  # fmt: skip
        assert script.entry_point == "run_runpy.py test_train"
        assert execute(script) == "tested __main__\n"

    def test_own_module_below_another_folder_of_the_path(self, project, section, execute):
        text = "from .model import x\nimport sys; print(__name__, __package__, x, sys.argv[0][-13:])\n"
        root = project({"src/pkg/__init__": "", "src/pkg/train": text, "src/pkg/model": "x = 1\n"})
        loaded = {"pkg": "pkg/__init__.py", "pkg.model": "pkg/model.py"}
        script = section(
            root / "src/pkg/train.py", root, main_kind="module", main_module="pkg.train", sys_path=["src"],
            files={name: str(root / "src" / file) for name, file in loaded.items()},
        )  # fmt: skip
        assert script.entry_point == "run_train.py"
        assert execute(script) == "__main__ pkg 1 /pkg/train.py\n"

    def test_modules_from_elsewhere(self, project, section, execute):
        """Two folders of the same name, and neither below the working directory."""
        root = project({"train": "import one, two; print(one.x, two.x)\n"})
        one, two = project({"one": "x = 1\n"}, "a/lib"), project({"two": "x = 2\n"}, "b/lib")
        target = project({"installed": ""}, "target")
        (target / "installed-1.0.dist-info").mkdir()
        files = {"one": str(one / "one.py"), "two": str(two / "two.py"), "installed": str(target / "installed.py")}
        script = section(root / "train.py", root, files=files, sys_path=[str(root), str(two), str(one)])
        assert "FILES['lib/one.py']" in script.diff
        assert "FILES['lib_2/two.py']" in script.diff
        assert "installed" not in script.diff
        assert execute(script) == "1 2\n"

    def test_notebook_with_a_module(self, project, section, execute):
        root = project({"helper": "x = 1\n"})
        script = section(
            cwd=root, main_kind="notebook", source="# %%\nimport helper\nprint(helper.x)\n\n",
            files={"helper": str(root / "helper.py")}, callers=["/tmp/ipykernel_1/2.py"],
        )  # fmt: skip
        assert script.entry_point == "notebook.py"
        assert script.diff.index("FILES['notebook.py']") < script.diff.index("FILES['helper.py']")
        assert execute(script) == "1\n"

    def test_notebook_that_is_called_like_a_module(self, project, section, execute):
        root = project({"model": "x = 1\n"})
        script = section(
            root / "model.ipynb", root, main_kind="notebook", source="# %%\nfrom model import x\nprint(x)\n\n",
            files={"model": str(root / "model.py")}, callers=[str(root / "model.py")],
        )  # fmt: skip
        assert (script.entry_point, execute(script)) == ("model.py", "1\n")

    def test_files_beyond_the_limit_are_named(self, project, section, execute):
        names = ["large", *(f"m{number:03}" for number in range(250))]
        root = project({"train": "print('trained')\n", **dict.fromkeys(names, ""), "large": "#" * 499_000})
        files = {name: str(root / f"{name}.py") for name in names}
        script = section(root / "train.py", root, files=files, callers=[files["large"]])
        assert len(script.diff) < 500_000
        assert "# large.py (499 kB)\n" in script.diff
        assert "# m249.py (0 kB)\n" in script.diff
        assert execute(script) == "trained\n"

    @pytest.mark.parametrize(
        "text",
        ["'''a'''", '"""a"""', "'''a''' \"\"\"b\"\"\" '", "a\\", '\\n \'\'\'" """', "", "é\0001\\n", "''", "ends\\'"],
    )
    def test_texts_are_unchanged(self, project, section, execute, text):
        code = "import sys; print(ascii(open('other.py', encoding='utf-8', newline='').read()))\n"
        root = project({"train": code, "other": text})
        script = section(root / "train.py", root, files={"other": str(root / "other.py")})
        assert execute(script) == f"{text!a}\n"


class TestTextInRepository:
    """Code that no file holds, started in a working copy whose modules it uses."""

    def test_command(self, repository, section, execute):
        script = section(cwd=repository.root / "src", main_kind="command", source="import pkg.train")
        assert (script.repository, script.entry_point, script.working_dir) == (
            str(repository.remote), "command.py", "src",
        )  # fmt: skip
        assert script.diff == "import pkg.train\n"
        assert execute(script) == "module\n"

    def test_command_with_other_changes(self, repository, section, execute):
        repository.write("src/pkg/train.py", "print('changed')\n")
        script = section(cwd=repository.root / "src", main_kind="command", source="import pkg.train")
        assert script.diff.startswith("diff --git ")
        assert execute(script) == "changed\n"

    def test_command_with_modules_that_git_does_not_know(self, repository, section, execute):
        repository.write("helper.py", "print('helped')\n")
        script = section(
            cwd=repository.root, main_kind="command", source="import helper",
            sys_path=[""], modules=["helper"],
        )  # fmt: skip
        assert execute(script) == "helped\n"

    def test_notebook_without_its_own_file(self, repository, section, execute):
        repository.write("my nb.ipynb", "{}")
        repository.write("my_nb.py", "")
        repository.commit()
        repository.push()
        path = repository.write("my nb.ipynb", '{"outputs": "many"}')
        script = section(path, repository.root, main_kind="notebook", source="# %%\nprint('cell')\n\n")
        assert script.entry_point == "my_nb_1.py"
        assert "many" not in script.diff
        assert execute(script) == "cell\n"

    def test_console_script(self, tmp_path, repository, section, execute):
        command = tmp_path / "venv" / "bin" / "my-train"
        command.parent.mkdir(parents=True)
        (tmp_path / "venv" / "pyvenv.cfg").touch()
        command.write_text("import pkg.train\n")
        script = section(command, repository.root / "src")
        assert (script.repository, script.entry_point) == (str(repository.remote), "my-train.py")
        assert execute(script) == "module\n"


class TestGit:
    def test_nothing_of_the_repository_is_run(self, tmp_path, repository, section):
        mark = tmp_path / "ran"
        spy = tmp_path / "spy"
        spy.write_text(f"#!/bin/sh\ntouch {mark}\ncat $1\n")
        spy.chmod(0o755)
        repository.write(".gitattributes", "*.py diff=spy\n")
        repository.commit()
        for name in ("core.fsmonitor", "diff.external", "diff.spy.textconv", "diff.spy.command", "core.pager"):
            repository.git("config", name, str(spy))
        hook = repository.root / ".git" / "hooks" / "post-index-change"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
        hook.chmod(0o755)
        repository.root.joinpath("train.py").write_text("print('two')\n")
        mark.unlink(missing_ok=True)
        assert "two" in section(repository.root / "train.py", repository.root).diff
        assert not mark.exists()

    def test_the_repository_is_not_touched(self, repository, section):
        """Not even the index, which `git status` and `git diff` refresh in passing."""
        repository.write("train.py", "print('two')\n")
        os.utime(repository.root / "src/pkg/train.py", (1, 1))

        def state():
            files = (repository.root / ".git").rglob("*")
            return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file()}

        before = state()
        section(repository.root / "train.py", repository.root)
        assert state() == before

    def test_a_slow_git_is_ended(self, tmp_path, repository, section, monkeypatch):
        slow = tmp_path / "slow"
        slow.write_text("#!/bin/sh\nsleep 60\n")
        slow.chmod(0o755)
        repository.write(".gitattributes", "*.py filter=slow\n")
        repository.commit()
        repository.git("config", "filter.slow.clean", str(slow))
        repository.root.joinpath("train.py").write_text("print('two')\n")
        monkeypatch.setattr(git_module, "_TIME_LIMIT_S", 0.5)
        started = time.monotonic()
        script = section(repository.root / "train.py", repository.root)
        assert time.monotonic() - started < 60, "the filter went on to its end"
        assert script.repository == str(repository.remote)
        assert "could not be read" in script.diff

    def test_variables_of_a_git_hook_are_ignored(self, repository, section, monkeypatch):
        monkeypatch.setenv("GIT_DIR", "/nonexistent/.git")
        monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
        assert section(repository.root / "train.py", repository.root).repository == str(repository.remote)


def belongs_to_another(root):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    for path in (root, *root.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    return f"belongs to another user; `git config --global --add safe.directory {root}` allows it"


def has_a_broken_index(root):
    (root / ".git/index").write_bytes(b"garbage")
    return "index file smaller than expected"


def has_a_bad_configuration(root):
    with (root / ".git/config").open("a") as config:
        config.write("[[[\n")
    return "bad config line "


def is_of_a_format_to_come(root):
    with (root / ".git/config").open("a") as config:
        config.write("[core]\n\trepositoryformatversion = 99\n")
    return "Expected git repo version <= 1, found 99"


def has_lost_its_objects(root):
    for folder in (root / ".git/objects").iterdir():
        shutil.rmtree(folder)
    return "git diff ended with 128: "


REFUSALS = [belongs_to_another, has_a_broken_index, has_a_bad_configuration, is_of_a_format_to_come]


class TestGitThatRefuses:
    """The parts that can be read without Git are kept; the others are named in place of the changes, and reported."""

    @pytest.mark.parametrize("refuses", [*REFUSALS, has_lost_its_objects])
    def test_the_commit_is_kept(self, repository, section, execute, refuses):
        commit = repository.head
        repository.write("train.py", "print('two')\n")
        why = refuses(repository.root)
        script = section(repository.root / "train.py", repository.root / "src")
        assert script[:5] == (str(repository.remote), "main", commit, "../train.py", "src")
        (note,) = section.lacks
        assert why in note
        assert note[1:] in script.diff
        assert execute(script) == "one\n"

    @pytest.mark.parametrize("refuses", REFUSALS)
    def test_a_script_that_is_not_committed_fails_with_the_reason(self, repository, section, execute, refuses):
        main = repository.write("new.py", "print('new')\n")
        refuses(repository.root)
        printed = execute(section(main, repository.root))
        assert section.lacks[0][1:] in printed

    def test_a_notebooks_code_is_kept(self, repository, section):
        belongs_to_another(repository.root)
        script = section(main_kind="notebook", main_path="", source="# %%\nprint(1)\n", cwd=repository.root)
        assert script.version_num
        assert script.diff.startswith("# The uncommitted changes are not kept: Git refuses ")
        assert "print(1)" in script.diff

    def test_no_program_that_the_repository_names_is_run(self, tmp_path, repository, section):
        mark, spy = tmp_path / "ran", tmp_path / "spy"
        spy.write_text(f"#!/bin/sh\ntouch {mark}\n")
        spy.chmod(0o755)
        for name in ("core.fsmonitor", "core.sshCommand", "filter.spy.clean", "diff.external", "core.pager"):
            repository.git("config", name, str(spy))
        repository.write(".gitattributes", "*.py filter=spy\n")
        repository.write("train.py", "print('two')\n")
        mark.unlink(missing_ok=True)
        belongs_to_another(repository.root)
        assert section(repository.root / "train.py", repository.root).version_num
        assert not mark.exists()

    @pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
    def test_worktree_and_branch_of_another_name(self, tmp_path, repository, section, packed):
        repository.git("checkout", "-q", "-b", "here")
        repository.write("train.py", "print('three')\n")
        commit = repository.commit()
        repository.git("push", "-q", "-u", "origin", "here:there")
        repository.git("worktree", "add", "-q", "--track", "-b", "beside", str(tmp_path / "beside"), "origin/there")
        if packed:
            repository.git("pack-refs", "--all")
        belongs_to_another(tmp_path / "beside")
        script = section(tmp_path / "beside/train.py", tmp_path)
        assert script[:3] == (str(repository.remote), "there", commit)
        assert f"safe.directory {tmp_path / 'beside'}" in section.lacks[0]

    def test_worktree_whose_repository_is_gone(self, tmp_path, repository, section):
        repository.git("worktree", "add", "-q", str(tmp_path / "beside"))
        repository.root.rename(tmp_path / "moved")
        script = section(tmp_path / "beside/train.py", tmp_path)
        assert script[:4] == ("", "", "", "train.py")
        note = "repository, branch and commit are not kept: "
        assert section.lacks[0].startswith(f"{note}{repository.root / '.git/worktrees/beside'}: the repository that")
        assert script.diff == f"# R{section.lacks[0][1:]}.\nprint('one')\n"

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
    def test_a_repository_that_may_not_be_read(self, repository, section, monkeypatch):
        """Root may read everything, so the test uses a file of another kind."""
        monkeypatch.setattr(git_module, "_TIME_LIMIT_S", 2.0)  # Git waits for the other end of the pipe
        (repository.root / ".git/HEAD").unlink()
        os.mkfifo(repository.root / ".git/HEAD")
        script = section(repository.root / "train.py", repository.root)
        assert (script.repository, script.diff.splitlines()[1]) == ("", "print('one')")
        assert section.lacks[0].startswith("repository, branch and commit are not kept: ")

    def test_credentials_of_the_remote(self, repository, section):
        repository.git("remote", "set-url", "origin", "https://me:secret@example.com/repo.git")
        belongs_to_another(repository.root)
        assert section(repository.root / "train.py", repository.root).repository == "https://example.com/repo.git"

    def test_complete_code_gets_no_note(self, tmp_path, section):
        """Without a remote the script's text travels, with Git and without it."""
        lonely = Repository(tmp_path / "lonely", None)
        main = lonely.write("train.py", "print('one')\n")
        commit = lonely.commit()
        belongs_to_another(lonely.root)
        script = section(main, lonely.root)
        assert (script.repository, script.branch, script.version_num) == ("", "main", commit)
        assert (script.diff, section.lacks) == ("print('one')\n", [])

    def test_a_folder_called_git_is_not_a_repository(self, tmp_path, section):
        (tmp_path / ".git").mkdir()
        main = tmp_path / "train.py"
        main.write_text("print('one')\n")
        assert section(main, tmp_path).diff == "print('one')\n"
        assert section.lacks == []


@pytest.mark.parametrize(
    ("config", "remote"),
    [
        ('[remote "origin"]\n\turl = https://host/a.git # where it is\n', "https://host/a.git"),
        ('[REMOTE "origin"] url = "https://host/a b#c"; x\n', "https://host/a b#c"),
        ('[remote "origin"]\nURL=https://host/\\\na.git\n[remote "other"]\nurl = b\n', "https://host/a.git"),
        ('[remote "a\\"b"]\nurl = first\n[remote "z"]\nurl = second\n', "first"),
        ("[remote]\nurl = none\n", ""),
        ('[include]\npath = other\n[remote "origin"]\nfetch = x\nurl\n', ""),
        ("\x00\xff[[[", ""),
    ],
)
def test_configuration_is_read_as_git_reads_it(tmp_path, config, remote):
    Repository(tmp_path / "repo", None)
    (tmp_path / "repo/.git/config").write_text(config)
    (tmp_path / "repo/.git/other").write_text('[remote "origin"]\nurl = not read\n')
    found = git_files.read(tmp_path / "repo")
    assert found is not None
    assert (found.remote, found.problem) == (remote, "")


class TestClearMLVariables:
    """Set where a container has the code without its history (clearml/config/defs.py)."""

    def test_repository(self, tmp_path, section, monkeypatch):
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "train.py").write_text("print('one')\n")
        monkeypatch.setenv("CLEARML_VCS_REPO_URL", "https://u:t@host/a.git")
        monkeypatch.setenv("CLEARML_VCS_COMMIT_ID", "c0ffee")
        monkeypatch.setenv("CLEARML_VCS_BRANCH", "main")
        script = section(tmp_path / "src" / "train.py", tmp_path)
        assert script[:6] == ("https://host/a.git", "main", "c0ffee", "src/train.py", ".", "")
        monkeypatch.delenv("CLEARML_VCS_REPO_URL")
        monkeypatch.setenv("TRAINS_VCS_REPO_URL", "https://host/b.git")
        monkeypatch.setenv("TRAINS_VCS_ROOT", "src")
        script = section(tmp_path / "src" / "train.py", tmp_path)
        assert (script.repository, script.entry_point) == ("https://host/b.git", "train.py")

    def test_a_module_of_a_src_folder(self, tmp_path, section, monkeypatch):
        file = tmp_path / "src" / "pkg" / "train.py"
        file.parent.mkdir(parents=True)
        file.write_text("print('one')\n")
        monkeypatch.setenv("CLEARML_VCS_REPO_URL", "https://host/a.git")
        script = section(file, tmp_path, main_kind="module", main_module="pkg.train")
        assert (script.entry_point, script.working_dir) == ("-m pkg.train", "src")

    def test_single_fields(self, repository, section, monkeypatch):
        monkeypatch.setenv("CLEARML_VCS_ENTRY_POINT", "other.py")
        monkeypatch.setenv("CLEARML_VCS_WORK_DIR", "somewhere")
        monkeypatch.setenv("CLEARML_VCS_DIFF", base64.b64encode(b"diff --git x").decode())
        script = section(repository.root / "train.py", repository.root)
        assert (script.entry_point, script.working_dir, script.diff) == ("other.py", "somewhere", "diff --git x")

    @pytest.mark.parametrize("variable", ["CLEARML_VCS_DIFF", "TRAINS_VCS_DIFF"])
    def test_an_empty_diff_stands_for_no_changes(self, repository, section, monkeypatch, variable):
        repository.write("train.py", "x = 'changed'\n")
        assert section(repository.root / "train.py", repository.root).diff
        monkeypatch.setenv(variable, "")
        assert section(repository.root / "train.py", repository.root).diff == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the launcher's command line is read from /proc")
@pytest.mark.parametrize(
    ("command", "main", "entry"),
    [
        (["bin/torchrun", "--nproc_per_node=2", "train.py", "--lr", "1"], {},
         "-m torch.distributed.run --nproc_per_node=2 train.py"),
        (["-m", "torch.distributed.run", "--nproc_per_node", "2", "train.py"], {},
         "-m torch.distributed.run --nproc_per_node 2 train.py"),
        (["bin/accelerate", "launch", "--config_file", "a b", "train.py"], {},
         "-m accelerate.commands.launch --config_file 'a b' train.py"),
        (["bin/torchrun", "-m", "pkg.train"], {"main_kind": "module", "main_module": "pkg.train"},
         "-m torch.distributed.run -m pkg.train"),
        (["bin/other", "train.py"], {}, "train.py"),
    ],
)  # fmt: skip
def test_launcher_of_a_distributed_training(repository, section, command, main, entry):
    """The parent's command line shows it: here that of a shell which lends its argv to a sleeping child."""
    code = "import subprocess; c = subprocess.Popen(['sleep', '30']); print(c.pid, flush=True); c.wait()"
    parent = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
    try:
        child = int(parent.stdout.readline())
        file = repository.root / ("src/pkg/train.py" if main else "train.py")
        cwd = repository.root / "src" if main else repository.root
        assert section(file, cwd, pid=child, **main).entry_point == entry
        os.kill(child, 9)
    finally:
        parent.kill()
        parent.communicate()
