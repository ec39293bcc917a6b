"""`autoinstrument doctor`: check everything that mirroring needs, and name a remedy for each problem."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator

import click

from autoinstrument.cli import environment_checks, gpu_checks, service_checks
from autoinstrument.cli.checks import Check, masked, show
from autoinstrument.cli.examples import examples
from autoinstrument.cli.tracing import probe
from autoinstrument.settings import Settings


@click.command(short_help="Check this environment, MLflow and ClearML.", epilog=examples("autoinstrument doctor"))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def doctor(switch: str | None, as_json: bool) -> None:
    """Check this environment and both servers: is everything there that mirroring needs?

    Each finding is one line: `✓` is well, `·` is worth knowing, `✗` is a problem, with its remedy below. Secrets are
    not shown, and nothing is changed. It takes some seconds; a server that does not answer is waited for no longer than
    a minute. Exit code 1 if there is a problem.
    """
    found = (masked(check) for check in _checks(switch))
    if as_json:
        checks = list(found)
        good = all(check.ok is not False for check in checks)
        click.echo(json.dumps({"ok": good, "checks": [check._asdict() for check in checks]}, indent=2))
    else:
        problems: list[str] = []
        good = show(_short(found, problems))
        click.echo(f"problems: {', '.join(dict.fromkeys(problems))}" if problems else "no problem found")
    sys.exit(0 if good else 1)


def _short(checks: Iterable[Check], problems: list[str]) -> Iterator[Check]:
    """Yield the findings, with one line for all settings at their defaults; append what is wrong to `problems`."""
    defaults = 0
    for check in checks:
        is_setting = check.what.startswith("AUTOINSTRUMENT_")
        if is_setting and check.ok is None:
            defaults += 1
            continue
        if defaults and not is_setting:
            yield Check("settings", None, f"{defaults} have their defaults; `autoinstrument doctor --json` lists all")
            defaults = 0
        if check.ok is False:
            problems.append(check.what)
        yield check


def _checks(switch: str | None) -> Iterator[Check]:
    yield environment_checks.interpreter()
    yield environment_checks.worker()
    yield from environment_checks.start_up_files()
    yield environment_checks.switch(switch)
    yield from environment_checks.settings(os.environ)
    yield from environment_checks.versions()
    yield environment_checks.working_copy()
    yield environment_checks.installation()
    yield gpu_checks.gpus(os.environ)
    try:
        traced = probe("1")
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Check("wrappers", False, f"MLflow cannot be imported: {error}", "Try `python -c 'import mlflow'`.")
    else:
        yield environment_checks.wrappers(traced)
        yield from environment_checks.lost_wrappers(traced)
        if traced.code == 0:
            yield from service_checks.tracking_server((traced.stdout.strip().splitlines() or [""])[-1])
    yield from service_checks.clearml()
    # Only the setting of the folder is read: any other may be wrong, and has its own line.
    yield from service_checks.recorded(Settings(home=os.environ.get("AUTOINSTRUMENT_HOME", "").strip()))
