"""Any data in a state file, a socket or a Task's settings is read, or refused in one way."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoinstrument.clone_run.settings import read
from autoinstrument.journal.liveness import why_alive
from autoinstrument.journal.run_journal import RunJournal, RunJournals
from autoinstrument.records import ProcessStarted, RunStarted, has_right_types, to_json
from autoinstrument.settings import Settings
from autoinstrument.transport.protocol import Reader, encode

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DEEP = "[" * 100_000

RUN = RunStarted("r", "name", "0", "e", "http://h", "", "", 1, "", {"a": "b"}, False, True, "")
PROCESS = ProcessStarted(1, 2, "h", "u", "3", "py", "/", [], "script", "/a.py", "", "", ["/"], ["os"], [("a", "b", "")])

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def capture_text(tmp_path: Path) -> dict[str, Any]:
    journal = RunJournal(tmp_path / "captures" / "r", RUN, PROCESS)
    journal.save()
    text: dict[str, Any] = json.loads((journal.folder / "capture.json").read_text())
    return text


def loaded(folder: Path) -> None:
    """Load a journal and use it, as `sync` and `status` do."""
    try:
        journal = RunJournal.load(folder)
    except (ValueError, OSError):
        return
    why_alive(journal)
    list(journal.console())
    assert has_right_types(journal.run)


def test_the_records_of_a_journal_have_the_right_types(tmp_path: Path) -> None:
    capture_text(tmp_path)
    assert RunJournal.load(tmp_path / "captures" / "r").run == RUN


@MANY
@given(data=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_in_place_of_a_journal(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "captures" / "r"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "capture.json").write_bytes(data)
    (folder / "console.jsonl").write_bytes(data + b"\n" + data)
    loaded(folder)
    list(RunJournals(Settings(home=str(tmp_path))))
    list(RunJournal(folder, RUN, PROCESS).console())


@MANY
@given(data=st.data(), wrong=values)
def test_a_journal_with_one_wrong_value(tmp_path: Path, data: st.DataObject, wrong: Any) -> None:
    text = capture_text(tmp_path)
    key = data.draw(st.sampled_from(sorted(text)))
    if key in ("run", "process"):
        text[key][data.draw(st.integers(0, len(text[key]) - 1))] = wrong
    else:
        text[key] = wrong
    (tmp_path / "captures" / "r" / "capture.json").write_text(json.dumps(text))
    loaded(tmp_path / "captures" / "r")


def test_nesting_that_no_parser_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "captures" / "r"
    folder.mkdir(parents=True)
    (folder / "capture.json").write_text(DEEP)
    with pytest.raises(ValueError, match="nested"):
        RunJournal.load(folder)
    (folder / "console.jsonl").write_text(DEEP)
    assert list(RunJournal(folder, RUN, PROCESS).console()) == []
    with pytest.raises(ValueError, match="nested"):
        list(Reader().feed(len(DEEP).to_bytes(4, "big") + DEEP.encode()))


@MANY
@given(chunks=st.lists(st.binary(max_size=60) | st.just(encode([RUN])), max_size=6), value=values)
def test_any_bytes_on_the_socket(chunks: list[bytes], value: Any) -> None:
    body = json.dumps(value).encode()
    reader = Reader()
    try:
        for chunk in [*chunks, len(body).to_bytes(4, "big") + body]:
            for record in reader.feed(chunk):
                to_json(record)
    except ValueError:
        pass


@MANY
@given(text=st.text(max_size=300), value=st.text(max_size=50))
def test_any_settings_of_a_task(text: str, value: str) -> None:
    """Each accepted setting can be set as a variable of the environment."""
    for taken in (read(text), read(f"AUTOINSTRUMENT_PROJECT={value}\nPATH=/tmp\nAUTOINSTRUMENT_HOME=/tmp")):
        assert not {"PATH", "AUTOINSTRUMENT_HOME", "AUTOINSTRUMENT_ENABLED"} & taken.keys()
        for name, setting in taken.items():
            assert "\0" not in name + setting
            assert 0 < len(setting) <= 4096
    assert read("AUTOINSTRUMENT_TASK=" + "x" * 100_000) == {}


def test_a_connection_that_is_cut(tmp_path: Path) -> None:
    """Half a frame is neither a record nor an error."""
    from autoinstrument.transport.protocol import read_all

    reading, sending = socket.socketpair()
    sending.sendall(encode([RUN])[:-1])
    sending.close()
    assert list(read_all(reading)) == []
    reading.close()
