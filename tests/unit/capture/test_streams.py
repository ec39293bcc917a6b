from __future__ import annotations

import codecs
import gc
import io
import os
import sys
from pathlib import Path

import pytest

from autoinstrument.capture import streams


def test_the_streams_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.current("stdout") is sys.stdout
    assert streams.original("stdout") is sys.__stdout__
    monkeypatch.delattr(sys, "stdout")
    assert streams.current("stdout") is None


def test_a_reference_keeps_nothing_alive() -> None:
    stream = io.StringIO()
    reference = streams.reference(stream)
    assert reference() is stream
    del stream
    gc.collect()
    assert reference() is None
    assert streams.reference(None)() is None


def test_descriptors(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert streams.descriptor_of(file) == file.fileno()
    for other in (file, io.StringIO(), None, object()):
        assert streams.descriptor_of(other) is None


def test_descriptors_of_one_file(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as file, (tmp_path / "b").open("w") as other:
        again = os.dup(file.fileno())
        assert streams.is_one_of(again, [other.fileno(), file.fileno()])
        assert not streams.is_one_of(again, [other.fileno()])
        os.close(again)
        assert streams.is_one_of(file.fileno(), [again, file.fileno()]), "a closed one is passed over"


def test_the_binary_stream_below() -> None:
    binary = io.BytesIO()
    assert streams.buffer_of(io.TextIOWrapper(binary)) is binary
    assert streams.buffer_of(codecs.getwriter("utf-8")(binary)) is binary
    assert streams.buffer_of(io.StringIO()) is None


def test_the_streams_that_another_holds() -> None:
    class Tee:
        def __init__(self, *parts: io.StringIO) -> None:
            self.first, self.rest, self.name = parts[0], list(parts[1:]), "tee"

    parts = [io.StringIO() for _ in range(3)]
    assert streams.held_by(Tee(*parts)) == parts
    assert streams.held_by(None) == []
