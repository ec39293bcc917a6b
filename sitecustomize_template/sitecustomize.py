"""Start autoinstrument where nothing can be installed into site-packages: put this file's folder on PYTHONPATH.

At its start, Python imports the first `sitecustomize` on the path, and no other. This one starts the agent, and then
runs the next `sitecustomize` on the path, which Python would have imported without this file.
"""


def _run_next():
    import os
    import sys
    from importlib.machinery import PathFinder

    def real(folder):
        try:
            return os.path.realpath(folder)
        except OSError:  # the working directory is gone
            return folder

    # The files of other tools (New Relic, a copy of this file) also run the next one, and may find this file again. The
    # call stack shows which files are running already.
    running = set()
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "sitecustomize" and frame.f_globals.get("__file__"):
            running.add(real(os.path.dirname(frame.f_globals["__file__"])))
        frame = frame.f_back
    spec = PathFinder.find_spec("sitecustomize", [folder for folder in sys.path if real(folder) not in running])
    if spec is None or spec.loader is None:
        return
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module  # as if this file did not exist
    spec.loader.exec_module(module)  # `site` reports an exception, as it would without this file


try:
    import autoinstrument

    autoinstrument.init()
except Exception:  # the interpreter must start even if the package is missing or broken
    pass

_run_next()
