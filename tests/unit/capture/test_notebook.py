"""Cells as a script that runs without IPython."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from autoinstrument.capture import notebook


def shell(cells, exceptions=None, **names):
    history = SimpleNamespace(input_hist_raw=["", *cells], exceptions=exceptions or {})
    return SimpleNamespace(history_manager=history, user_ns=names)


def test_cells_that_raised_are_left_out():
    """IPython keeps account of them since 9.0: the corrected cell stands further down."""
    assert notebook.source(shell(["x = 1", "x = y", "x = 2"], {2: [{}]})) == "# %%\nx = 1\n\n# %%\nx = 2\n\n"


def test_cells_are_found_without_a_history_manager():
    assert notebook.source(SimpleNamespace(user_ns={"In": ["", "x = 1"]})) == "# %%\nx = 1\n\n"


@pytest.mark.parametrize(
    "text",
    [
        '{"cells": [{"cell_type": "markdown", "source": "x"}, {"cell_type": "code", "source": ["a = 1\\n", "b = 2"]},'
        ' {"cell_type": "code", "source": " "}, {"cell_type": "code", "source": "%time c"}], "nbformat": 4}',
        '{"worksheets": [{"cells": [{"cell_type": "code", "input": "a = 1\\nb = 2"}]},'
        ' {"cells": [{"cell_type": "code", "input": "%time c"}]}], "nbformat": 3}',
    ],
)
def test_the_cells_of_a_file(text):
    assert notebook.source_of_file(text) == "# %%\na = 1\nb = 2\n\n# %%\n%time c\n\n"


@pytest.mark.parametrize("text", ["", "[]", "{}", '"cells"', '{"worksheets": []}'])
def test_a_file_that_is_not_a_notebook(text):
    with pytest.raises(ValueError, match=r"no cells|Expecting value"):
        notebook.source_of_file(text)


@pytest.mark.parametrize(
    ("cell", "script"),
    [
        ("x = 1", "x = 1"),
        ("%matplotlib inline\nx = 1", "# %matplotlib inline\nx = 1"),
        ("!pip install torch\nx = 1", "# !pip install torch\nx = 1"),
        ("len?\nx = 1", "# len?\nx = 1"),
        ("?len", "# ?len"),
        ("for i in range(2):\n    %time x = i\n    y = i", "for i in range(2):\n    x = i\n    y = i"),
        ("files = !ls", "# files = !ls"),
        ("%%time\nx = 1", "# %%time\nx = 1"),
        ("%%bash\nls\n\npwd", "# %%bash\n# ls\n\n# pwd"),
        ("x = '''\n%s\n''' % 3", "x = '''\n%s\n''' % 3"),
    ],
)
def test_lines_that_are_not_python_become_comments(cell, script):
    assert notebook.as_script(f"# %%\n{cell}\n\n").strip() == f"# %%\n{script}"
    compile(notebook.as_script(f"# %%\n{cell}\n\n"), "cell", "exec")


def test_a_magic_that_leaves_a_block_empty_still_gives_python():
    compile(notebook.as_script("# %%\nif True:\n    %timeit x = 1\n\n"), "cell", "exec")


@pytest.mark.parametrize(
    ("names", "environment", "path"),
    [
        ({"__vsc_ipynb_file__": "/home/u/nb.ipynb"}, "", "/home/u/nb.ipynb"),
        ({}, "/home/u/nb.ipynb", "/home/u/nb.ipynb"),
        ({}, "nb.ipynb", ""),
        ({}, "", ""),
    ],
)
def test_the_path_comes_from_the_front_end(monkeypatch, names, environment, path):
    monkeypatch.setenv("JPY_SESSION_NAME", environment)
    assert notebook.path(shell([], **names)) == path


def test_no_shell_without_ipython():
    assert notebook.shell() is None
