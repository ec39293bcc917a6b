"""`python3 examples/demo.py [EXAMPLE.py ARGUMENT ...]`: run a training script with the agent on, and show its Task.

Does all of its own set-up: a virtual environment in `.venv`, an MLflow server with its data in a temporary folder, and
a ClearML server: yours, if you have a clearml.conf or CLEARML_* variables, else one made for tests, which needs no
account. Ends with the Task as the server holds it, and both links.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.__main__ import SetupError, environ, environment  # noqa: E402  (the folder is on the path only now)

_TAGS = ("clearml.task_id", "clearml.task_url", "clearml.state")


class DemoError(Exception):
    """Something is missing; the text is for the user."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 examples/demo.py", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep both servers up until Ctrl-C, to click the links")
    parser.add_argument("--local", action="store_true", help="take the test server although ClearML is configured")
    parser.add_argument("--python", default="", metavar="PATH", help="Python for the environment (3.10 or newer)")
    parser.add_argument(
        "example", nargs=argparse.REMAINDER, metavar="EXAMPLE.py ARGUMENT ...", help="default: train_loop.py"
    )
    options = parser.parse_args()
    try:
        python = environment(("test",), options.python)
        if not Path(sys.prefix).samefile(Path(python).parent.parent):
            os.execve(python, [python, __file__, *sys.argv[1:]], environ())  # from here on, inside the environment
        return demonstrate(options.example or [str(ROOT / "examples" / "train_loop.py")], options.local, options.keep)
    except (SetupError, DemoError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1


def demonstrate(example: list[str], local: bool, keep: bool) -> int:
    """Start what is needed, run the example, show its runs, and return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers must end then, too
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="autoinstrument-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = {**os.environ, "AUTOINSTRUMENT_ENABLED": "1", "AUTOINSTRUMENT_HOME": str(folder / "state")}
        if local or not is_configured():
            from tests.clearml_server import ClearMLServer

            server = stack.enter_context(ClearMLServer())
            os.environ.update(server.environ)  # the Task is read back in this process
            environment.update(server.environ)
            say(f"ClearML test server: {server.web_url} (no account, all in memory)")
        else:
            say("ClearML: the server of your own configuration (--local takes a test server instead)")
        uri = stack.enter_context(mlflow_server(folder))
        environment["MLFLOW_TRACKING_URI"] = uri
        say(f"MLflow server: {uri}")
        say(f"AUTOINSTRUMENT_ENABLED=1 python {' '.join(example)}")
        print(flush=True)
        code = subprocess.run([sys.executable, *example], env=environment, check=False).returncode
        if code != 0:
            say(f"{example[0]} ended with exit code {code}")
        runs = delivered_runs(uri)
        if not runs:
            raise DemoError(f"{example[0]} made no MLflow run")
        missing = [problem for run in runs for problem in show(run, uri)]
        if keep:
            say("both servers stay up; Ctrl-C ends them")
            wait()
        if missing:
            raise DemoError("; ".join(missing))
        return code


def is_configured() -> bool:
    """Return True if the ClearML SDK would find a configuration of the user."""
    names = ("CLEARML_API_ACCESS_KEY", "CLEARML_CONFIG_FILE", "TRAINS_API_ACCESS_KEY", "TRAINS_CONFIG_FILE")
    files = ("~/clearml.conf", "~/trains.conf")
    return any(os.environ.get(name) for name in names) or any(Path(name).expanduser().exists() for name in files)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run `mlflow server` with everything in the folder; give its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "mlflow-server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    with log.open("wb") as output:
        # A session of its own: its children end with it, and Ctrl-C is for the demo to act on.
        process = subprocess.Popen(
            [*command, *stores], stdout=output, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not answers(f"{uri}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"`mlflow server` did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
        yield uri
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def delivered_runs(uri: str) -> list[Any]:
    """Return the server's runs, oldest first; wait half a minute at most for the agent's last tags."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    deadline = time.monotonic() + 30
    while True:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = sorted(client.search_runs(experiments), key=lambda run: run.info.start_time)
        states = {run.data.tags.get("clearml.state") for run in runs}
        if states <= {"synced", "pending"} or time.monotonic() > deadline:
            return runs
        time.sleep(0.3)


def show(run: Any, uri: str) -> list[str]:
    """Print the run's Task as the ClearML server holds it, and both links; return what is missing."""
    name, tags = run.info.run_name, run.data.tags
    task_id, task_url = tags.get("clearml.task_id"), tags.get("clearml.task_url")
    if not task_id:
        return [f"run {name} has no Task (clearml.state: {tags.get('clearml.state', 'not set')})"]
    task = ask("tasks.get_by_id", task=task_id)["task"]
    project = ask("projects.get_by_id", project=task["project"])["project"]
    log = ask("events.get_task_log", task=task_id, batch_size=5000, navigate_earlier=False)["events"]
    script, sections = task["script"], dict(task.get("hyperparams") or {})
    properties = sections.pop("properties", {})
    requirements = (script.get("requirements") or {}).get("pip", "").split("\n")
    packages = [line for line in requirements if line and not line.startswith("#")]
    code = [script.get("repository"), script.get("branch"), (script.get("version_num") or "")[:10]]
    reason = task.get("status_reason")
    metrics = [
        f"{last['metric']}/{last['variant']}".removesuffix(f"/{last['metric']}" * (last["metric"] == last["variant"]))
        + f" {last['count']} point{'s'[: last['count'] != 1]}, last {last['value']:.4g}"
        for variants in (task.get("last_metrics") or {}).values()
        for last in variants.values()
    ]
    lines = "".join(str(event["msg"]) for event in log).splitlines()

    print(f"\nClearML Task {task_id}, as the server holds it")
    row("name", task["name"])
    row("project", project["name"])
    row("status", task["status"] + (f" ({reason})" if reason else ""))
    row("script", f"{script.get('entry_point')} in {script.get('working_dir')}, {script.get('binary')}")
    row("repository", ", ".join(part for part in code if part) or "none")
    row("diff", f"{len((script.get('diff') or '').splitlines())} lines")
    row("packages", f"{len(packages)}: {', '.join(packages[:5])}{', ...' if packages[5:] else ''}")
    for section, items in sorted(sections.items()):
        row(section, ", ".join(f"{key}={item['value']}" for key, item in sorted(items.items())))
    row("metrics", *sorted(metrics))
    plots = ask("events.get_task_plots", task=task_id, iters=1)["plots"]
    images = ask("events.debug_images", metrics=[{"task": task_id}], iters=1)["metrics"]
    row("plots", *dict.fromkeys(_named(event) for event in plots))
    row("images", *dict.fromkeys(_named(e) for one in images for shown in one["iterations"] for e in shown["events"]))
    artifacts = (task.get("execution") or {}).get("artifacts") or []
    row("artifacts", *(f"{item['key']}, {item['content_size']} bytes, {item['uri']}" for item in artifacts))
    models = (task.get("models") or {}).get("output") or []
    row("models", *(_model(entry["model"]) for entry in models))
    row("more", ", ".join(sorted(task.get("configuration") or {})) or "no configuration objects")
    row("console", f"{len(lines)} lines; last: {lines[-1]}" if lines else "empty")
    row("properties", *(f"{key} = {item['value']}" for key, item in sorted(properties.items())))
    print(f"\nMLflow run {run.info.run_id}")
    row("name", name)
    row("status", run.info.status)
    row("tags", *(f"{tag} = {tags[tag]}" for tag in _TAGS if tag in tags))
    print("\nLinks")
    run_url = properties.get("mlflow_run_url", {}).get("value", "")
    missing = [f"run {name} has the state {tags.get('clearml.state')}"] * (tags.get("clearml.state") != "synced")
    for kind, url in (("Task", task_url), ("run", run_url)):
        alive = bool(url) and answers(url)
        row(kind, f"{url or 'none'}  ({'answers' if alive else 'DOES NOT ANSWER'})")
        if not alive:
            missing.append(f"the link to the {kind} does not answer")
    print(flush=True)
    if run_url != f"{uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}":
        missing.append("the link to the run is another run's")
    return missing


def _named(event: dict[str, Any]) -> str:
    """Return the title and the series of a plot or an image."""
    return f"{event['metric']}/{event['variant']}"


def _model(model_id: str) -> str:
    """Return a line about a model as the server holds it."""
    model = ask("models.get_by_id", model=model_id)["model"]
    return f"{model['name']} ({model.get('framework') or 'no framework'}), {model.get('uri')}"


def ask(action: str, **body: Any) -> Any:
    """Call the ClearML server through its SDK's API client and return the answer's data."""
    from clearml.backend_api.session.client import APIClient

    service, _, name = action.partition(".")
    answer = APIClient().session.send_request(service, name, json=body)
    if answer.status_code != 200:
        raise DemoError(f"{action}: {answer.status_code} {answer.text[:300]}")
    return answer.json()["data"]


def answers(url: str) -> bool:
    """Return True if a GET of the address is answered with 200; the part after # is for the browser."""
    try:
        with urllib.request.urlopen(url.partition("#")[0], timeout=20) as answer:
            return answer.status == 200
    except OSError:  # URLError and HTTPError are some, and so are time-outs
        return False


def wait() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


def row(label: str, *values: object) -> None:
    for place, value in enumerate(values or ("none",)):
        print(f"  {'' if place else label:<11} {value}")


def say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
