"""The command `docker` of a machine without Docker, as far as `clearml-agent --docker` needs it.

A container is a process tree in a PID namespace of its own, which dies with its first process, as it does in Docker and
in a pod. It has the machine's files and network, the variables of `-e`, and a home folder of its own. As in Docker, it
does not end with the client: ending `docker run` leaves it running, `docker stop` ends it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

NAMESPACES = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
VALUED = {"-e", "-v", "-l", "--gpus", "--name", "--network", "--restart"}
PATHS = {"/root/default_clearml.conf": "default_clearml.conf"}
"""Files that the agent's commands write inside a container: below its own home here."""


def missing() -> str:
    """Return why this machine cannot have such containers, "" if it can."""
    if shutil.which("unshare") is None:
        return "no unshare"
    done = subprocess.run([*_namespaces(), "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def install(folder: Path) -> Path:
    """Put a `docker` into a folder, to be put on PATH; its containers are described there, too."""
    folder.mkdir()
    command = folder / "docker"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {__file__} {folder} "$@"\n')
    command.chmod(0o755)
    return folder


def _namespaces() -> list[str]:
    return NAMESPACES if os.geteuid() == 0 else [*NAMESPACES, "--user", "--map-root-user"]


def _run(folder: Path, words: list[str]) -> int:
    """Start a container and wait for its end, as `docker run`; it lives on if this process is killed."""
    environment, renamed = {"PATH": os.environ["PATH"]}, dict[str, str]()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            break
        value = next(rest) if word in VALUED else ""
        if word == "-e":
            name, is_given, text = value.partition("=")
            environment[name] = text if is_given else os.environ.get(name, "")
        elif word == "-v":
            source, target = value.split(":")[:2]
            renamed[target] = source
    command = [*rest]
    name = f"{os.getpid():08x}"
    home = folder / f"{name}.home"
    home.mkdir()
    renamed |= {path: str(home / name) for path, name in PATHS.items()}

    def here(text: str) -> str:
        for target, source in renamed.items():
            text = text.replace(target, source)
        return text

    environment = {"HOME": str(home), **{name: here(value) for name, value in environment.items()}}
    ended = folder / f"{name}.code"
    if os.fork() == 0:  # the part of Docker's daemon
        os.setsid()
        if os.fork():
            os._exit(0)
        container = subprocess.Popen([*_namespaces(), *map(here, command)], env=environment, stdin=subprocess.DEVNULL)
        (folder / f"{name}.partial").write_text(f"{container.pid}\n{shlex.join(command)}")
        (folder / f"{name}.partial").rename(folder / f"{name}.container")
        code = container.wait()
        (folder / f"{name}.container").unlink()
        ended.write_text(str(code if code >= 0 else 128 - code))
        os._exit(0)
    os.wait()
    while not ended.exists() or not ended.read_text():
        time.sleep(0.1)
    return int(ended.read_text())


def _ps(folder: Path) -> int:
    """Print the containers in the format for which the agent asks: id and command, which Docker quotes."""
    for file in folder.glob("*.container"):
        print(f'{file.stem}: "{file.read_text().partition(chr(10))[2]}"')
    return 0


def _stop(folder: Path, words: list[str]) -> int:
    """Send SIGTERM to a container's first process, and then SIGKILL, which ends all of them.

    Between the two, ten times as long as asked for: on a busy machine everything takes longer.
    """
    patience, name = (float(words[1]), words[2]) if words[0] == "-t" else (10.0, words[0])
    file = folder / f"{name}.container"
    outer = int(file.read_text().partition("\n")[0])
    (inner,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.kill(int(inner), number)
        until = time.monotonic() + patience * 10
        while file.exists() and time.monotonic() < until:
            time.sleep(0.05)
    print(name)
    return 0


def main(folder: Path, words: list[str]) -> int:
    if words[0] == "run":
        return _run(folder, words[1:])
    return _ps(folder) if words[0] == "ps" else _stop(folder, words[1:]) if words[0] == "stop" else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
