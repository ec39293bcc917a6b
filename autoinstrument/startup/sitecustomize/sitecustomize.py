"""Arm autoinstrument where nothing can be installed into site-packages: put this file's folder on PYTHONPATH.

Python imports one `sitecustomize` at start-up, the first on the path. This one arms the agent and then runs the next
one on the path, which would have been the one without it.
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

    # Other tools' files (New Relic's, a copy of this one) run the next one as well, and take this one for it. What is
    # being run stands on the call stack.
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
    sys.modules["sitecustomize"] = module  # as if this file had not been there
    spec.loader.exec_module(module)  # an exception is for `site` to report, as it would have been


try:
    import autoinstrument

    autoinstrument.init()
except Exception:  # a missing or broken package must not keep the interpreter from starting
    pass

_run_next()
