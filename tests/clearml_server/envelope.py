"""The answer envelope and the errors of the API (README, "Wire format")."""

from __future__ import annotations

import uuid
from typing import Any

Doc = dict[str, Any]

API_VERSION = "2.34"
SERVER_VERSION = "2.3.0"


class ApiError(Exception):
    """A refusal: HTTP status = `result_code`, details only in `result_msg`, `error_data` always empty."""

    def __init__(self, code: int, subcode: int, message: str, data: Doc | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.subcode = subcode
        self.message = message
        self.data = data or {}  # shown by the `*_many` calls only

    @property
    def as_failure(self) -> Doc:
        """The form in `data.failed[].error` of a `*_many` call, which answers with status 200 anyway."""
        return {"codes": [self.code, self.subcode], "data": self.data, "msg": self.message}


def bad_request(subcode: int, message: str, **details: Any) -> ApiError:
    """HTTP 400; details are appended as `key=value` in the order given, as the server does."""
    if details:
        message += ": " + ", ".join(f"{key}={value}" for key, value in details.items())
    return ApiError(400, subcode, message, details)


def validation_error(reason: str) -> ApiError:
    return bad_request(12, f"Validation error ({reason})")


def data_error(field: str, reason: str) -> ApiError:
    """The error of a value that the storage model refuses, not the request schema (05: short names, wrong types)."""
    return bad_request(800, f"Data validation error: {field}={reason}")


def invalid_id(kind: str, **details: Any) -> ApiError:
    """404-like cases are 400 with the subcode of the kind of object."""
    subcode = {"task": 101, "model": 201, "project": 401, "queue": 701}[kind]
    return bad_request(subcode, f"Invalid {kind} id", **details)


def envelope(
    name: str,
    requested: str | float,
    actual: str | float | None,
    data: Doc | None = None,
    error: ApiError | None = None,
) -> Doc:
    """Wrap `data`, or an error with empty `data`, into the body that every API call answers."""
    call_id = uuid.uuid4().hex
    return {
        "meta": {
            "id": call_id,
            "trx": call_id,
            "endpoint": {"name": name, "requested_version": requested, "actual_version": actual},
            "result_code": error.code if error else 200,
            "result_subcode": error.subcode if error else 0,
            "result_msg": error.message if error else "OK",
            "error_stack": None,
            "error_data": {},
        },
        "data": {} if error else (data or {}),
    }
