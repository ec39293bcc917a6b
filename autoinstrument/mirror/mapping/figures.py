"""Matplotlib's figures among the pictures: a file says itself that matplotlib wrote it.

ClearML's own binding shows figures under PLOTS, as a plot whose background is the uploaded picture
(`Reporter.report_image_plot_and_upload`, clearml 1.16 to 2.1.12). Matplotlib 1.5 to 3.11 names itself in PNG files, as
the text `Software`, and in SVG files, in a comment or as the creator. JPEG and WebP files say nothing.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from autoinstrument import previews

HEAD = 16 * 2**10
"""Bytes from a file's beginning that `is_figure` and `image_plot` look at."""
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = re.compile(rb"<dc:title>\s*Matplotlib v|<!-- Created with matplotlib ")
_VIEW = re.compile(rb'viewBox="0 0 ([0-9.]+) ([0-9.]+)"')
_WIDTH, _SIZE = 640, (640.0, 480.0)
"""Width of every image in its plot's own units, and the size of one that is not known; both as in the SDK."""


def may_be_figure(path: str) -> bool:
    """Return True for a file that can say that matplotlib wrote it."""
    return previews.suffix(path) in (".png", ".svg")


def is_figure(path: str, head: bytes) -> bool:
    """Return True if a file says that matplotlib wrote it; `head` is its beginning, `HEAD` bytes are enough."""
    if previews.suffix(path) == ".svg":
        return _SVG.search(head.partition(b"<defs")[0]) is not None
    return _software(head).startswith(b"Matplotlib")


def image_plot(url: str, title: str, head: bytes) -> dict[str, Any]:
    """Return the plotly figure that shows an image, with the fields of the SDK's `create_image_plot`."""
    width, height = _size(head)
    shown = int(_WIDTH * height / width)
    image = {
        "source": url,
        "xref": "x",
        "yref": "y",
        "x": 0,
        "y": shown,
        "sizex": _WIDTH,
        "sizey": shown,
        "sizing": "contain",
        "opacity": 1.0,
        "layer": "below",
    }
    return {
        "data": [],
        "layout": {
            "xaxis": {"visible": False, "range": [0, _WIDTH]},
            "yaxis": {"visible": False, "range": [0, shown], "scaleanchor": "x"},
            "margin": {"l": 0, "r": 0, "t": 64, "b": 0},
            "images": [image],
            "showlegend": False,
            "title": title,
        },
    }


def _software(head: bytes) -> bytes:
    """Return the text `Software` of a PNG file, b"" for none; matplotlib writes it before the image."""
    at = len(_PNG) if head.startswith(_PNG) else len(head)
    while at + 8 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, at)
        key, _, text = head[at + 8 : at + 8 + length].partition(b"\0")
        if kind == b"tEXt" and key == b"Software":
            return text
        at = len(head) if kind == b"IDAT" else at + 12 + length
    return b""


def _size(head: bytes) -> tuple[float, float]:
    """Return width and height in any unit; a size that cannot be read is that of the SDK."""
    if head.startswith(_PNG) and len(head) >= 24:
        size = struct.unpack_from(">II", head, 16)
    elif found := _VIEW.search(head):
        size = (_number(found[1]), _number(found[2]))
    else:
        return _SIZE
    return size if 1 <= size[0] <= 1e6 and 1 <= size[1] <= 1e6 else _SIZE


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
