"""The key of a worker: training processes with the same key use the same worker.

The key is a digest of everything that decides whom a worker can serve, and how it would talk to the servers:

- the user, the host, and the namespaces of users, process ids, mounts and network: processes that see each other;
- the control group: a worker ends with its SLURM step, container or systemd scope, and must take no other job's data
  with it. Two kinds of groups count as the one above them: SLURM's of one task of a step (`task_3`), so that the ranks
  of a step share a worker; and those of a desktop's terminals, see `_TERMINAL`;
- the interpreter, and the folders that the worker may import from;
- the versions of autoinstrument, clearml and MLflow, by the identity of the files that hold them, and that of ClearML's
  configuration file: a worker that lingers must not go on with the credentials from before `clearml-init`;
- the variables of ClearML, MLflow, cloud storage, databases, proxies, certificates, Git and this project, those by
  which files are found, and those whose names say that they hold a secret: plug-ins of MLflow's, which add headers to
  requests or have stores, read variables of their own. Not those that only name the run, experiment or workspace that a
  process works on.

What else the worker must know of a process travels in the process's records. Values are hashed here, and written
nowhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

from autoinstrument.transport import own_python

_PREFIXES = (
    "AUTOINSTRUMENT_",
    "CLEARML_", "TRAINS_",
    "MLFLOW_", "DATABRICKS_",
    "AWS_", "AZURE_", "ARM_", "GOOGLE_", "GCP_", "GCLOUD_", "CLOUDSDK_", "GS_", "BOTO", "STORAGE_EMULATOR_", "HADOOP_",
    "PG", "MYSQL_",
    "SSL_CERT_", "GIT_",
)  # fmt: skip
_NAMES = {
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC", "KRB5CCNAME",
    "HOME", "PATH", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "TMPDIR", "TEMP", "TMP",  # where files, and Git, are found
}  # fmt: skip
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""In upper or lower case."""
_SECRET = re.compile(r"TOKEN(?![A-Z])|PASSW|SECRET|_KEY|CREDENTIAL")
"""In names of variables. The scrubber's own rules are stricter, and take as long as all else here."""
TRACKING_URI = "MLFLOW_TRACKING_URI"
_OF_A_RUN = {
    "MLFLOW_RUN_ID", "MLFLOW_RUN_NAME", "MLFLOW_RUN_CONTEXT", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_WORKSPACE",
    "MLFLOW_TAGS", "MLFLOW_NESTED_RUN", "MLFLOW_FLATTEN_PARAMS",  # read by transformers, 4.30 to 4.57
}  # fmt: skip
_DATABRICKS = "databricks"
"""Beginning of a tracking URI: clients of its artifacts look for credentials by the variable (MLflow 2.16 to 3.17)."""
_CONTROL_GROUP, _MOST = "/proc/self/cgroup", 2**16
_NAMESPACES = ("user", "pid", "mnt", "net")
_TASK_OF_STEP = re.compile(r"/task_\d+$", re.MULTILINE)
"""SLURM 21.08 to 24.05, cgroup v1 and v2: groups of tasks below that of the step, which ends all processes in it."""
_TERMINAL = re.compile(
    r"(/user@\d+\.service)(?:/[^/\n]+\.slice)*(?:/(?:vte-spawn-|tmux-spawn-|app-|tab\()[^/\n]*\.scope)+$", re.MULTILINE
)
"""Scopes of the user's service manager that a desktop makes for programs and terminals: by GNOME's VTE (`vte-spawn-`),
tmux 3.2 (`tmux-spawn-`), Konsole (`tab(`), and whatever starts programs as systemd's page "Desktop Environment
Integration" says (`app-`). Nobody stops them: they end when their last process does, or all together with `user@`.

All others have a worker of their own, because they may be stopped while the user's other processes go on: `systemd-run
--scope` (`run-`), services (a program that was started as `app-…@….service` takes all of its processes with it),
rootless containers, and sessions (`session-3.scope`), which systemd-logind stops at their end if it has
`KillUserProcesses`.
"""
_VERSIONS = {"autoinstrument": "_version.py", "clearml": "version.py", "mlflow": "version.py"}
_DIGITS = 12


def worker_key() -> str:
    """Return the key of the worker that this process uses, 12 characters; it takes about 0.3 ms.

    No worker is shared on Windows.
    """
    environ = own_python.lasting_environment()
    parts = [*_place(), *_interpreter(), *identities(used_files(environ)), *_variables(environ)]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:_DIGITS]


def used_files(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the paths of the files, existing or not, whose change calls for another worker.

    Args:
        environ: variables that name ClearML's configuration file (clearml 1.16 to 2.1.12).
    """
    given = environ.get("CLEARML_CONFIG_FILE") or environ.get("TRAINS_CONFIG_FILE")
    files = [given] if given else ["~/trains.conf", "~/clearml.conf"]
    files = [os.path.expanduser(os.path.expandvars(file)) for file in files]  # noqa: PTH111  (Path's raises)
    return [*files, *map(_version_file, _VERSIONS)]


def identities(paths: Iterable[str]) -> list[str]:
    """Return the identity of each file: its path, time of change and size."""
    return [_identity(path) for path in paths]


def _place() -> Iterator[str]:
    if sys.platform != "win32":
        yield str(os.getuid())
        yield os.uname().nodename
    with contextlib.suppress(OSError):  # no Linux, or no /proc
        for name in _NAMESPACES:
            yield os.readlink(f"/proc/self/ns/{name}")  # noqa: PTH115  (it is not a path)
    with contextlib.suppress(OSError):
        file = os.open(_CONTROL_GROUP, os.O_RDONLY)  # `open` takes three times as long
        try:
            groups = _TASK_OF_STEP.sub("", os.fsdecode(os.read(file, _MOST)))
            yield _TERMINAL.sub(r"\1/terminal", groups)
        finally:
            os.close(file)


def _interpreter() -> Iterator[str]:
    yield sys.executable or ""  # None in some embedded interpreters
    yield sys.prefix
    yield sys.version
    yield from own_python.import_path()


def _variables(environ: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environ):
        if _counts(name, environ[name]):
            yield f"{name}={environ[name]}"


def _counts(name: str, value: str) -> bool:
    if name in _NAMES or name.upper() in _PROXIES:
        return True
    if name == TRACKING_URI:
        return value.startswith(_DATABRICKS)
    return name not in _OF_A_RUN and (name.startswith(_PREFIXES) or _SECRET.search(name) is not None)


def _version_file(package: str) -> str:
    """Return the path of the file that holds a package's version: of the loaded package, or of the one found first."""
    file = getattr(sys.modules.get(package), "__file__", None)
    folders = [os.path.dirname(file)] if file else [os.path.join(entry, package) for entry in sys.path]  # noqa: PTH118, PTH120
    found = (os.path.join(folder, _VERSIONS[package]) for folder in folders)  # noqa: PTH118
    return next(filter(os.path.exists, found), package)


def _identity(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116  (pathlib takes three times as long)
    except OSError:
        return f"{path} -"
    return f"{path} {found.st_mtime_ns} {found.st_size}"
