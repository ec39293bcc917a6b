"""`python docs/screens.py`: make the pictures of MLflow's page and of the command line from real output.

It needs Chromium and the dependency groups `test` and `browser`. It trains an example in a temporary folder, with an
MLflow server and the ClearML server made for tests.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from demo import delivered_runs, mlflow_server  # noqa: E402  (the folders are on the path only now)
from PIL import Image  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.text import Text  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

from tests.browser.chromium import start  # noqa: E402
from tests.clearml_server import ClearMLServer  # noqa: E402

WIDTH = 118


def main() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, ClearMLServer() as server, mlflow_server(Path(name)) as uri:
        folder = Path(name)
        environ = {
            **os.environ, **server.environ, "MLFLOW_TRACKING_URI": uri, "AUTOINSTRUMENT_HOME": str(folder / "state"),
            "PYTHONPATH": f"{ROOT / 'sitecustomize_template'}{os.pathsep}{ROOT}", "TMPDIR": name,
            "TERM": "xterm-256color", "AUTOINSTRUMENT_ENABLED": "1",
        }  # fmt: skip
        for example, wrong in (("loop", {}), ("sklearn", {}), ("loop", {"CLEARML_API_SECRET_KEY": "wrong"})):
            command = [sys.executable, str(ROOT / "examples" / f"train_{example}.py")]
            subprocess.run(command, env={**environ, **wrong}, cwd=folder, check=True, capture_output=True)
        runs = [run for run in delivered_runs(uri) if "clearml.task_url" in run.data.tags]
        page(f"{uri}/#/experiments/{runs[0].info.experiment_id}/runs/{runs[0].info.run_id}", folder / "profile")
        for command in ("status", "doctor", "sync"):
            output = on_a_terminal([sys.executable, "-m", "autoinstrument", command], environ, folder)
            for path, shown in ((name, "/home/me"), (str(ROOT), "/home/me/training"), (sys.prefix, "/opt/venv")):
                output = output.replace(path, shown)
            terminal(command, output)


def on_a_terminal(command: list[str], environ: dict[str, str], folder: Path) -> str:
    """Run a command on a separate pseudo-terminal, and return its output."""
    master, terminal_side = pty.openpty()
    fcntl.ioctl(terminal_side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    with subprocess.Popen(
        command, env=environ, cwd=folder, stdin=terminal_side, stdout=terminal_side, stderr=terminal_side
    ):
        os.close(terminal_side)
        written = b""
        with contextlib.suppress(OSError):  # reading fails when the terminal is closed
            while read := os.read(master, 65536):
                written += read
    os.close(master)
    return _settled(written.decode().replace("\r\n", "\n"))


def _settled(output: str) -> str:
    """Return what stays on a terminal: a progress bar goes one line up, and erases itself."""
    lines: list[str] = []
    for line in output.split("\n"):
        lines = lines[: len(lines) - line.count("\x1b[1A")]
        lines.append(line.replace("\x1b[1A", "").rpartition("\x1b[2K")[2])
    return "\n".join(lines)


def page(address: str, profile: Path) -> None:
    """Take screenshots of a run's page with the tags in view, without the column of the assistant, in 64 colours."""
    browser = start(profile, 1500, 950)
    try:
        browser.get(address)
        for name, is_dark in (("mlflow-run", False), ("mlflow-run-dark", True)):
            # The switch of MLflow's page, seen in 3.17.
            browser.execute_script(
                f"localStorage.setItem('_mlflow_dark_mode_toggle_enabled', '{str(is_dark).lower()}')"
            )
            browser.refresh()
            for _ in range(120):
                tags = browser.find_elements(By.CSS_SELECTOR, '[role="status"][title="clearml.task_url"]')
                if tags and tags[0].is_displayed():
                    break
                time.sleep(0.5)
            time.sleep(2)  # until the page is drawn completely
            picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).crop((0, 0, 1115, 700))
            picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
                PICTURES / f"{name}.png", optimize=True
            )
    finally:
        browser.quit()


def terminal(command: str, output: str) -> None:
    """Draw the output of a command as it looks on a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ autoinstrument {command}", style="bold"))
    console.print(Text.from_ansi(re.sub(r"\n+$", "", output)))
    drawn = console.export_svg(title="", unique_id=command)
    # No remote font, so that the page can be read offline.
    drawn = re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.S)
    (PICTURES / f"{command}.svg").write_text(drawn, "utf-8")


if __name__ == "__main__":
    main()
