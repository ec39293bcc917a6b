"""The start-up hook in a Jupyter kernel, as a notebook server starts it."""

from __future__ import annotations

import ast
import json

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.end_to_end.processes import PATIENCE_S
from tests.startup.environment import Environment, clean_environ


@pytest.fixture
def kernel(full_environment: Environment, tmp_path):
    """Start a kernel of the environment with the switch on; return a function that runs a cell: (stdout, stderr)."""
    folder = tmp_path / "kernels" / "tests"
    folder.mkdir(parents=True)
    command = [str(full_environment.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "tests", "language": "python"}))
    kernels = KernelSpecManager(kernel_dirs=[str(folder.parent)])
    manager = KernelManager(kernel_name="tests", kernel_spec_manager=kernels)
    manager.start_kernel(env={**clean_environ(full_environment.home), "AUTOINSTRUMENT_ENABLED": "1"}, cwd=tmp_path)
    client = manager.client()
    client.start_channels()

    def run(cell: str) -> tuple[str, str]:
        printed = {"stdout": "", "stderr": ""}  # and what is displayed, by its kind

        def show(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                printed[content["name"]] += content["text"]
            elif message["msg_type"] == "display_data":
                printed.update(content["data"])
            elif message["msg_type"] == "error":
                printed["stderr"] += "\n".join(content["traceback"])

        client.execute_interactive(cell, output_hook=show, timeout=PATIENCE_S)
        run.displayed = printed
        return printed["stdout"], printed["stderr"]

    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_armed_in_a_kernel_and_mlflow_is_wrapped(kernel):
    stdout, stderr = kernel(
        "import sys; print([[type(finder).__name__ for finder in sys.meta_path].count('AfterImport'),"
        " 'wrapt' in sys.modules, 'autoinstrument.agent' in sys.modules])"
    )
    assert (ast.literal_eval(stdout), stderr) == ([1, False, False], "")
    quiet = "import warnings; warnings.simplefilter('ignore')"  # tqdm's, where there are no widgets
    stdout, stderr = kernel(f"{quiet}; import mlflow; print(mlflow.start_run is mlflow.tracking.fluent.start_run)")
    assert (stdout, stderr) == ("True\n", "")
    assert kernel("print(type(mlflow.start_run).__name__)") == ("Reference\n", "")


CELL = """
import os, autoinstrument
os.environ["AUTOINSTRUMENT_ENABLED"] = "1"
autoinstrument.init()
autoinstrument.init()
import sys; print([type(finder).__name__ for finder in sys.meta_path].count("AfterImport"))
"""


def test_the_extension_switches_on_a_kernel_that_was_started_without_the_agent(kernel):
    """As if the variable had never been there: the finder is taken away, and MLflow is imported first."""
    away = "import sys; sys.meta_path[:] = [one for one in sys.meta_path if type(one).__name__ != 'AfterImport']"
    quiet = "import os, warnings; warnings.simplefilter('ignore'); del os.environ['AUTOINSTRUMENT_ENABLED']"
    kernel(f"{away}\n{quiet}\nimport mlflow")
    assert kernel("import autoinstrument; print(autoinstrument.is_active())") == ("False\n", "")
    assert kernel("%load_ext autoinstrument\n%load_ext autoinstrument\nprint(autoinstrument.is_active())") == (
        "The autoinstrument extension is already loaded. To reload it, use:\n  %reload_ext autoinstrument\nTrue\n",
        "",
    )
    assert kernel("print(os.environ['AUTOINSTRUMENT_ENABLED'], type(mlflow.start_run).__name__)") == (
        "1 Reference\n",
        "",
    )


def test_running_the_cell_that_arms_again_is_harmless(kernel):
    assert kernel(CELL) == ("1\n", "")
    assert kernel(CELL) == ("1\n", "")


def test_the_kernels_own_command_line_is_not_the_codes(kernel):
    stdout, _ = kernel("from autoinstrument.capture.process import Changes; print(Changes().describe().arguments)")
    assert stdout == "[]\n"


def test_the_agents_lines_are_on_the_page(kernel):
    """Not in the notebook server's log, where descriptor 2 leads; nor in what a cell captures."""
    log = "from autoinstrument.guard import logger; logger().warning('a line')"
    assert kernel(log) == ("", "autoinstrument: a line\n")
    block = f"with contextlib.redirect_stderr(io.StringIO()) as text:\n    {log}"
    assert kernel(f"import contextlib, io\n{block}\nprint(text.getvalue())") == ("\n", "autoinstrument: a line\n")


LOG = """
import threading
from autoinstrument.agent.run_log import RunLog, TaskLine
line = TaskLine("fast <b>", "http://clearml/task?a=1&b=2", "http://mlflow/run")
"""
LINE = "autoinstrument: run fast <b> is ClearML Task http://clearml/task?a=1&b=2 (MLflow: http://mlflow/run)"
LINKS = (
    'autoinstrument: run <a href="http://mlflow/run" target="_blank" rel="noopener">fast &lt;b&gt;</a> → '
    '<a href="http://clearml/task?a=1&amp;b=2" target="_blank" rel="noopener">ClearML Task</a>'
)


@pytest.mark.parametrize("cell_ends_first", [False, True])
def test_the_line_about_a_task_has_links(kernel, cell_ends_first):
    """A thread logs it while the cell runs, or after its end, when pages drop it: then the next cell shows it."""
    log = f"{LOG}\nthread = threading.Timer(0.5, RunLog().linked, ['run', 'task', line])\nthread.start()"
    assert kernel(log if cell_ends_first else f"{log}\nthread.join()") == ("", "")
    if cell_ends_first:
        assert not kernel.displayed.keys() & {"text/html"}
        assert kernel("import time; time.sleep(2)\nprint('next')") == ("next\n", "")
    assert (kernel.displayed["text/plain"], kernel.displayed["text/html"]) == (LINE, LINKS)
