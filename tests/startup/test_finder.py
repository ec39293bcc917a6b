"""The finder leaves no trace on the modules that it waits for, and its hooks cannot harm an import."""

from __future__ import annotations

import textwrap
import zipfile

import pytest

PRELUDE = """
import importlib, importlib.resources, importlib.util, inspect, json, pkgutil, sys, threading
from autoinstrument.bootstrap.import_hook import AfterImport
seen = []
hooks = {name: (lambda module: seen.append((module.__name__, sorted(vars(module))[-1])))
         for name in ("awaited", "package", "package.part", "other", "broken")}
finder = AfterImport(hooks)
sys.meta_path.insert(0, finder)
"""


@pytest.fixture
def run(light, tmp_path):
    """Run code after PRELUDE, in a folder with modules to wait for, and return what it prints as JSON."""
    for name, text in {
        "awaited.py": "loader = type(__loader__).__name__, type(__spec__.loader).__name__\nz = 1\n",
        "other.py": "z = 2\n",
        "broken.py": "z = 3\n1 / 0\n",
        "package/__init__.py": "z = 4\n",
        "package/part.py": "z = 5\n",
        "package/data.txt": "data",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def run(code, *options):
        code = PRELUDE + textwrap.dedent(code)
        return light.result(*options, "-W", "error", "-c", code, cwd=tmp_path)

    return run


def test_the_hook_runs_after_the_module_and_once_an_import(run):
    assert run("import awaited, awaited, other; print(json.dumps(seen))") == [["awaited", "z"], ["other", "z"]]


def test_loader_and_spec_are_the_real_ones_while_the_module_runs_and_after(run):
    loader, names, same = run("""
        import awaited
        traces = [name for name in vars(awaited.__loader__) if name not in ("name", "path")]
        same = awaited.__loader__ is awaited.__spec__.loader
        print(json.dumps([awaited.loader, traces, [same, type(awaited.__loader__).__module__]]))
    """)
    assert loader == ["SourceFileLoader"] * 2
    assert names == []
    assert same == [True, "_frozen_importlib_external"]


def test_introspection_works(run):
    assert run("""
        import awaited, package
        print(json.dumps([
            inspect.getsource(awaited)[-6:], inspect.getfile(awaited)[-10:], awaited.__spec__.has_location,
            pkgutil.get_data("package", "data.txt").decode(),
            importlib.resources.files("package").joinpath("data.txt").read_text(),
            [module.name for module in pkgutil.iter_modules(package.__path__)],
            awaited.__cached__ == awaited.__spec__.cached,
        ]))
    """) == ["z = 1\n", "awaited.py", True, "data", "data", ["part"], True]


def test_a_spec_that_is_not_imported_behaves_as_the_real_one(run):
    """Tools use `importlib.util.find_spec` to look for a package, and so does `python -m`."""
    assert run("""
        spec = importlib.util.find_spec("awaited")
        print(json.dumps([
            spec.origin[-10:], spec.loader.get_source("awaited")[-6:], spec.loader.is_package("awaited"),
            spec.loader.path == spec.origin, seen, "awaited" in sys.modules,
        ]))
    """) == ["awaited.py", "z = 1\n", False, True, [], False]


def test_a_spec_can_be_imported_by_hand(run):
    assert run("""
        spec = importlib.util.find_spec("awaited")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        print(json.dumps([seen, type(spec.loader).__name__, type(module.__loader__).__name__]))
    """) == [[["awaited", "z"]], "SourceFileLoader", "SourceFileLoader"]


def test_a_module_that_is_reloaded_is_hooked_again(run):
    assert run("""
        import awaited
        importlib.reload(awaited)
        print(json.dumps([len(seen), type(awaited.__loader__).__name__, type(awaited.__spec__.loader).__name__]))
    """) == [2, "SourceFileLoader", "SourceFileLoader"]


def test_a_lazy_module_is_hooked_when_it_is_used(run):
    assert run("""
        spec = importlib.util.find_spec("awaited")
        spec.loader = importlib.util.LazyLoader(spec.loader)
        awaited = sys.modules["awaited"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(awaited)
        before = len(seen)
        print(json.dumps([before, awaited.z, len(seen), type(awaited.__loader__).__name__]))
    """) == [0, 1, 1, "SourceFileLoader"]


def test_a_module_that_fails_raises_its_own_error_and_is_not_hooked(run):
    assert run("""
        try:
            import broken
        except ZeroDivisionError as error:
            print(json.dumps([seen, "broken" in sys.modules, error.__context__ is None]))
    """) == [[], False, True]


def test_a_module_that_is_missing_is_missing(run):
    assert run("""
        hooks["missing"] = None
        try:
            import missing
        except ModuleNotFoundError as error:
            print(json.dumps([error.name, str(error)]))
    """) == ["missing", "No module named 'missing'"]


@pytest.mark.parametrize(
    "error", ["ZeroDivisionError()", "ImportError('x')", "RecursionError()", "AttributeError('x')"]
)
def test_a_hook_that_fails_does_not_fail_the_import(light, tmp_path, error):
    (tmp_path / "awaited.py").write_text("z = 1\n")
    code = f"{PRELUDE}\ndef fail(module): raise {error}\nhooks['awaited'] = fail\nimport awaited; print(awaited.z)"
    done = light.run("-c", code, cwd=tmp_path)
    assert done.stdout == "1\n"
    assert done.stderr.startswith("autoinstrument: instrumenting awaited failed, training goes on (")
    assert len(done.stderr.splitlines()) == 1


def test_interrupting_a_hook_interrupts(run):
    """Ctrl-C is the user's."""
    assert run("""
        def interrupt(module): raise KeyboardInterrupt
        hooks["awaited"] = interrupt
        try:
            import awaited
        except KeyboardInterrupt:
            print("true")
    """)


def test_modules_in_a_zip_file_share_a_loader_and_are_hooked_each(run, tmp_path):
    with zipfile.ZipFile(tmp_path / "modules.zip", "w") as archive:
        for name in ("awaited.py", "other.py", "package/__init__.py", "package/part.py"):
            archive.write(tmp_path / name, name)
    assert run("""
        sys.path[:0] = ["modules.zip"]
        importlib.util.find_spec("other")
        import awaited, package.part, other
        loaders = {type(module.__loader__).__name__ for module in (awaited, package, package.part, other)}
        print(json.dumps([[name for name, _ in seen], "modules.zip" in awaited.__file__, sorted(loaders),
            awaited.__loader__ is other.__loader__, "exec_module" in vars(awaited.__loader__)]))
    """) == [["awaited", "package", "package.part", "other"], True, ["zipimporter"], True, False]


def test_threads_that_import_at_once_each_get_the_whole_module(run):
    assert run("""
        def work():
            barrier.wait()
            import awaited, other, package.part
            values.append((awaited.z, other.z, package.part.z))
        values, barrier = [], threading.Barrier(8)
        threads = [threading.Thread(target=work) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(json.dumps([sorted(set(values)), len(values), sorted(name for name, _ in seen)]))
    """) == [[[1, 2, 5]], 8, ["awaited", "other", "package", "package.part"]]


def test_two_finders_of_this_kind_do_not_call_each_other_endlessly(run):
    """wrapt's, and those of other agents, let the others find as this one does."""
    assert run("""
        class Another:
            def find_spec(self, name, path=None, target=None):
                for finder in sys.meta_path:
                    if finder is not self and (spec := finder.find_spec(name, path, target)):
                        return spec
        sys.meta_path.insert(int(sys.argv[1]) if sys.argv[1:] else 0, Another())
        import awaited
        sys.meta_path.insert(2, sys.meta_path.pop(0))
        import other
        print(json.dumps([len(seen), type(awaited.__loader__).__name__, type(other.__loader__).__name__]))
    """) == [2, "SourceFileLoader", "SourceFileLoader"]


def test_finders_and_loaders_of_the_old_kind_are_left_to_themselves(run):
    assert run("""
        class Loaderless:
            def find_spec(self, name, path=None, target=None):
                if name == "awaited":
                    return importlib.machinery.ModuleSpec(name, None, is_package=True)
        class Nothing: pass
        sys.meta_path[1:1] = [Nothing(), Loaderless()]
        import awaited
        print(json.dumps([seen, list(awaited.__path__)]))
    """) == [[], []]


def test_a_loader_that_allows_no_attributes_works(run):
    assert run("""
        class Slotted:
            __slots__ = ()
            def create_module(self, spec): return None
            def exec_module(self, module): module.z = 6
        class Finder:
            def find_spec(self, name, path=None, target=None):
                return importlib.machinery.ModuleSpec(name, Slotted()) if name == "awaited" else None
        sys.meta_path.insert(1, Finder())
        import awaited
        print(json.dumps([len(seen), awaited.z, type(awaited.__loader__).__name__]))
    """) == [1, 6, "Slotted"]


def test_every_other_import_passes_by(run):
    assert run("print(json.dumps([finder.find_spec('json'), finder.find_spec('awaited.sub', []), len(seen)]))") == [
        None, None, 0,
    ]  # fmt: skip
