"""`autoinstrument explain`: why a run was linked to a Task, or was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import click

from autoinstrument.cli.checks import Check, masked, show
from autoinstrument.cli.environment_checks import lost_wrappers
from autoinstrument.cli.examples import examples
from autoinstrument.cli.run import found
from autoinstrument.cli.tracing import StepDetails, Traced, probe, run_traced
from autoinstrument.versions import MLFLOW


@click.command(
    short_help="Show step by step why a command's runs have Tasks, or not.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("autoinstrument explain -- python train.py"),
)
@click.option("--json", "as_json", is_flag=True, help="Print the steps as JSON; COMMAND's stdout goes to stderr.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def explain(switch: str | None, as_json: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND, as in `-- python train.py`, and show step by step what became of its runs.

    The command runs as it would alone, with the switch as it is set. Without a command, MLflow is imported in this
    environment, and the steps up to that are shown. Exit code 1 if a step failed.
    """
    try:
        if command:
            environ = dict(os.environ) if switch is None else {**os.environ, "AUTOINSTRUMENT_ENABLED": switch}
            words = [found(command[0]), *command[1:]]
            traced = run_traced(words, environ, stdout=sys.stderr.fileno() if as_json else None)
        else:
            traced = probe(switch)
    except subprocess.TimeoutExpired as error:
        raise click.ClickException(
            f"importing MLflow took more than {error.timeout:g} s; try `python -c 'import mlflow'`"
        ) from None
    except OSError as error:
        program = command[0] if command else sys.executable
        is_missing = isinstance(error, FileNotFoundError)
        problem = "there is no such command" if is_missing else error.strerror or error
        raise click.UsageError(f"{program}: {problem}") from None
    checks = [masked(check) for check in explained(traced, of_command=bool(command))]
    good = all(check.ok is not False for check in checks)
    if as_json:
        report = {"ok": good, "exit_code": traced.code, "steps": [check._asdict() for check in checks]}
        click.echo(json.dumps(report, indent=2))
    else:
        show(checks)
    sys.exit(0 if good else 1)


def explained(traced: Traced, *, of_command: bool) -> Iterator[Check]:
    """Yield the steps up to the first one that failed, and what became of each run."""
    steps = traced.steps
    good = True
    for check in _steps(traced, of_command=of_command):
        good = check.ok is not False
        yield check
        if not good:
            break
    if good and of_command:
        yield from _runs(traced)
    yield from lost_wrappers(traced)
    for error in dict.fromkeys(steps.get("error", [])):
        yield Check("error of the agent's own", False, error, "Training is not affected; please report it.")
    if of_command and traced.code:
        yield Check("exit code of the command", None, str(traced.code))


def _steps(traced: Traced, *, of_command: bool) -> Iterator[Check]:
    steps = traced.steps
    yield Check(
        "start-up file", "started" in steps, _first(steps, "started") or "none has run",
        "Install the package into the environment that the command runs in (`autoinstrument install --target PATH`), "
        "and start Python without -S.",
    )  # fmt: skip
    value = _first(steps, "on") or _first(steps, "off")
    yield Check(
        "switch", "on" in steps, f"AUTOINSTRUMENT_ENABLED={value}" if value else "not set",
        "Set AUTOINSTRUMENT_ENABLED=1.",
    )  # fmt: skip
    yield Check(
        "finder armed", "armed" in steps, _first(steps, "armed") or f"not in {_first(steps, 'other program')}",
        "Start the training itself with Python: the agent stays out of installers, build tools and ClearML's agent.",
    )  # fmt: skip
    imported = {name for name in steps.get("imported", []) if name.startswith("mlflow.")}
    detail = f"{len(imported)} modules seen"
    remedy = "The command does not import MLflow with this environment's Python."
    if not imported and not of_command:
        detail, remedy = "".join(traced.stderr.strip().splitlines()[-1:]), "Install MLflow into this environment."
    yield Check("MLflow imported", bool(imported), detail, remedy)
    yield _left_alone(steps)
    yield _wrapped(steps)


def _first(steps: StepDetails, step: str) -> str:
    return next(iter(steps.get(step, [])), "")


def _left_alone(steps: StepDetails) -> Check:
    if "unsupported" in steps:
        return Check(
            "version and settings", False, f"MLflow {steps['unsupported'][0]} is not supported",
            f"Install MLflow {MLFLOW}.",
        )  # fmt: skip
    if "bad setting" in steps:
        return Check("version and settings", False, steps["bad setting"][0], "Correct the variable, or unset it.")
    return Check("version and settings", True)


def _wrapped(steps: StepDetails) -> Check:
    wrapped = set(steps.get("wrapped", []))
    return Check(
        "wrappers placed", bool(wrapped), f"{len(wrapped)} functions", "See the errors below, and please report them."
    )


def _runs(traced: Traced) -> Iterator[Check]:
    steps = traced.steps
    remedy = "The command began no MLflow run: call `mlflow.start_run`, or switch autologging on."
    if traced.code:
        end = f"exit code {traced.code}" if traced.code > 0 else f"signal {-traced.code}"
        remedy = f"The command ended with {end} before it began an MLflow run: correct the error that it printed above."
    yield Check("run begun", "run" in steps, f"{len(set(steps.get('run', [])))} in all", remedy)
    linked, pending = (dict(_parted(steps.get(step, []))) for step in ("linked", "pending"))
    for run_id in dict.fromkeys(steps.get("run", [])):
        if run_id in linked:
            yield Check(f"Task of run {run_id}", True, linked[run_id])
            continue
        reason = pending.get(run_id, "no answer from the worker while the command ran")
        remedy = "`autoinstrument doctor` checks the connection; `autoinstrument sync` makes the Task later."
        yield Check(f"Task of run {run_id}", False, reason, remedy)


def _parted(details: list[str]) -> Iterator[tuple[str, str]]:
    for detail in details:
        run_id, _, rest = detail.partition(" ")
        yield run_id, rest
