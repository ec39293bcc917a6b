"""`python docs/recording.py`: make docs/pictures/demo.svg, a recording of `python3 examples/demo.py` on a terminal.

The output is real; the pauses are shortened so that it takes 20 s. The picture moves by CSS alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "demo.svg"
COLUMNS, ROWS, LINE = 104, 30, 17
"""Size of the terminal in characters, and height of a line in pixels."""
MOVES_S, RESTS_S = 17.0, 3.0
COMMAND = "python3 examples/demo.py"


def record() -> list[tuple[float, str]]:
    """Run the demo on a pseudo-terminal; return each line with the seconds after which it was complete."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, 2000, 0, 0))
    lines, rest, begin = [], b"", time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOME": home, "TERM": "dumb"}
        command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--local"]
        with subprocess.Popen(command, env=environ, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal):
            os.close(terminal)
            with contextlib.suppress(OSError):  # reading fails when the terminal is closed
                while read := os.read(master, 65536):
                    *whole, rest = (rest + read).split(b"\n")
                    lines += [(time.monotonic() - begin, line) for line in whole]
    os.close(master)
    return [(at, _plain(line.decode())) for at, line in lines]


def _plain(line: str) -> str:
    line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rstrip("\r")).rpartition("\r")[2]
    for path, shown in ((str(ROOT), "~/autoinstrument"), (tempfile.gettempdir(), "/tmp")):
        line = line.replace(path, shown)
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…"


def picture(lines: list[tuple[float, str]]) -> str:
    """Return the moving picture of timed lines."""
    texts, shown, before = [f"$ {COMMAND}", *(text for _, text in lines)], [0.0], 0.0
    for at, _ in lines:
        shown.append(shown[-1] + min(0.6, max(0.06, at - before)))
        before = at
    share = 100 * MOVES_S / (MOVES_S + RESTS_S) / shown[-1]  # percent of the animation for each second
    cover, scroll = [], []
    for number, at in enumerate(shown):
        cover.append(f"{at * share:.2f}%{{transform:translateY({(number + 1) * LINE}px)}}")
        scroll.append(f"{at * share:.2f}%{{transform:translateY({-max(0, number + 1 - ROWS) * LINE}px)}}")
    last = f"translateY({len(texts) * LINE}px)", f"translateY({-max(0, len(texts) - ROWS) * LINE}px)"
    width, height, all_lines = COLUMNS * 7.83 + 24, ROWS * LINE, len(texts) * LINE
    written = "".join(
        f'<text y="{number * LINE + 13}" class="{_kind(text)}">{escape(text)}</text>\n'
        for number, text in enumerate(texts)
        if text
    )
    duration = f"{MOVES_S + RESTS_S:.0f}s step-end infinite"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height + 48}" role="img" aria-labelledby="t">
<title id="t">A terminal: {COMMAND} trains an example and prints its ClearML Task and both links</title>
<style>
text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d4d7dd;white-space:pre}}
.command{{fill:#fff;font-weight:700}}.link{{fill:#7fc8ff}}.agent{{fill:#8ee08e}}
.cover{{transform:{last[0]};animation:cover {duration}}}.scroll{{transform:{last[1]};animation:scroll {duration}}}
@keyframes cover{{{"".join(cover)}100%{{transform:{last[0]}}}}}
@keyframes scroll{{{"".join(scroll)}100%{{transform:{last[1]}}}}}
@media (prefers-reduced-motion:reduce){{.cover,.scroll{{animation:none}}}}
</style>
<rect width="100%" height="100%" rx="8" fill="#1d2129"/>
<g fill="#5a606b"><circle cx="18" cy="16" r="5"/><circle cx="36" cy="16" r="5"/><circle cx="54" cy="16" r="5"/></g>
<svg x="12" y="36" width="{width - 24:.0f}" height="{height}"><g class="scroll">
{written}<rect class="cover" width="100%" height="{all_lines + height}" fill="#1d2129"/>
</g></svg>
</svg>
"""


def _kind(text: str) -> str:
    if text.startswith("$ "):
        return "command"
    if text.startswith("autoinstrument:"):
        return "agent"
    return "link" if re.match(r"  (Task|run) +http", text) else "line"


if __name__ == "__main__":
    PICTURE.write_text(picture(record()), "utf-8")
