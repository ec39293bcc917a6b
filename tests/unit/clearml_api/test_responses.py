"""A response is data, or one of three kinds of errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from autoinstrument.clearml_api.errors import (
    ClearMLError,
    HiccupError,
    InternalError,
    NotAllowedError,
    RefusedError,
    UnavailableError,
)
from autoinstrument.clearml_api.responses import data_of, error_of_500


def response(status: int, body: Any, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code, made.reason = status, "Reason"
    made._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


def envelope(text: str = "text", subcode: Any = 0) -> dict[str, Any]:
    return {"meta": {"result_msg": text, "result_subcode": subcode}, "data": {}}


@pytest.mark.parametrize(
    ("body", "data"),
    [({"meta": {}, "data": {"id": "1"}}, {"id": "1"}), ({"data": []}, {}), (["uploaded"], {}), ({}, {})],
)
def test_data(body: Any, data: dict[str, Any]) -> None:
    assert data_of(response(200, body), "a.b") == data


@pytest.mark.parametrize("body", [b"<html>", b"", b"1", b'"text"', b"[" * 100_000])
def test_servers_that_are_not_clearml(body: bytes) -> None:
    with pytest.raises(UnavailableError, match=r"a\.b: the response does not come from a ClearML server"):
        data_of(response(200, body), "a.b")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusedError),
        (404, RefusedError),
        (401, NotAllowedError),
        (403, NotAllowedError),
        (408, HiccupError),
        (429, HiccupError),
        (502, HiccupError),
        (500, InternalError),
    ],
)
def test_kinds_of_status(status: int, kind: type[ClearMLError]) -> None:
    with pytest.raises(kind) as raised:
        data_of(response(status, envelope("one\n  line")), "a.b")
    assert type(raised.value) is kind
    assert str(raised.value) == f"a.b: {status} one line"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, HiccupError),
        (400, InternalError),  # a load balancer without a server; or it dislikes the form
        (401, NotAllowedError),
        (403, InternalError),  # a firewall that dislikes the content, or everything
        (404, HiccupError),  # Kubernetes' ingress while the server restarts
        (405, HiccupError),
        (406, InternalError),
        (413, RefusedError),
        (429, HiccupError),
        (502, HiccupError),
    ],
)
def test_a_gateway_refuses_an_item_only_for_its_content(status: int, kind: type[ClearMLError]) -> None:
    with pytest.raises(kind) as raised:
        data_of(response(status, b"<html>"), "a.b")
    assert type(raised.value) is kind


def test_a_500_of_a_gateway_is_tried_again() -> None:
    with pytest.raises(HiccupError, match=r"a\.b: 500 Reason"):
        data_of(response(500, b"<html>"), "a.b")


@pytest.mark.parametrize(
    ("code", "text", "true"),
    [
        ((400, 101), "", "is_gone"),
        ((400, 131), "Invalid task id", "is_gone"),
        ((400, 131), "another id", ""),
        ((400, 110), "", "is_finished"),
        ((400, 801), "", "is_duplicate"),
        ((500, 100), "", "is_partly_stored"),
    ],
)
def test_the_meanings_of_a_refusal(code: tuple[int, int], text: str, true: str) -> None:
    names = ["is_gone", "is_finished", "is_duplicate", "is_partly_stored"]
    error = RefusedError(text, code)
    assert [name for name in names if getattr(error, name)] == ([true] if true else [])


@pytest.mark.parametrize(
    ("asked", "pause_s"), [("3", 3.0), ("99999", 600.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 60.0), ("", 0.0)]
)
def test_the_pause_that_a_server_asks_for(asked: str, pause_s: float) -> None:
    with pytest.raises(HiccupError) as raised:
        data_of(response(503, b"", Retry_After=asked), "a.b")
    assert raised.value.retry_after_s == pause_s


@pytest.mark.parametrize(
    ("text", "subcode", "kind"),
    [
        ("'utf-8' codec can't encode character '\\udcff' in position 0: surrogates not allowed", 0, RefusedError),
        ("General data error: err=1 document(s) failed to index., extra_info=failed to parse", 100, RefusedError),
        ("Inconsistent data encountered in document: document=Script, field=nosuch", 101, RefusedError),
        ("General data error: err=1 document(s) failed to index., extra_info=rejected execution", 100, HiccupError),
        ("General data error (ConnectionError(<urllib3.connection.HTTPConnection>: refused))", 100, HiccupError),
        ("mongo:27017: [Errno 111] Connection refused, Timeout: 30s", 1, HiccupError),
        ("Critical server error! Server reports low or insufficient disk space.", 4, HiccupError),
        ("'NoneType' object has no attribute 'get'", 0, InternalError),
    ],
)
def test_kinds_of_500(text: str, subcode: int, kind: type[ClearMLError]) -> None:
    """Elasticsearch that is restarted, say, must cost no events."""
    error = error_of_500(text, subcode)
    assert type(error) is kind
    with pytest.raises(kind, match=r"a\.b: 500"):
        data_of(response(500, envelope(text, subcode)), "a.b")


def test_a_subcode_that_is_not_a_number() -> None:
    with pytest.raises(RefusedError) as raised:
        data_of(response(400, envelope(subcode=["x"])), "a.b")
    assert raised.value.code == (400, 0)
