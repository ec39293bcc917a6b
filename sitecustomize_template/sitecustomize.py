"""Arm autoinstrument where nothing can be installed into site-packages: put this file's folder on PYTHONPATH.

Python imports one `sitecustomize` at start-up, the first on the path. This one arms the agent and then runs the next
one on the path, which would have been the one without it.
"""


def _run_next():
    import os
    import sys
    from importlib.machinery import PathFinder

    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry or os.getcwd()) != here]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    # The next one is `sitecustomize` from here on, as if this file had not been there.
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    ours = sys.modules["sitecustomize"]
    sys.modules["sitecustomize"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules["sitecustomize"] = ours
        raise


try:
    import autoinstrument

    autoinstrument.init()
except Exception:  # a missing or broken package must not keep the interpreter from starting
    pass

_run_next()
