"""Answers of a ClearML server to a login, for servers that answer anything else afterwards."""

from __future__ import annotations

import base64
import json

# A token's payload is all that the SDK reads of it.
_CLAIMS = {"exp": 4102444800, "api_version": "2.34", "server_version": "2.3.0", "feature_set": "basic"}
_PAYLOAD = base64.urlsafe_b64encode(json.dumps(_CLAIMS).encode()).decode().rstrip("=")
TOKEN = f"{base64.urlsafe_b64encode(b'{}').decode()}.{_PAYLOAD}.AAAA"
LOGIN = json.dumps({"meta": {"result_code": 200}, "data": {"token": TOKEN}}).encode()
