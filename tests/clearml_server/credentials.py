"""Access keys and the tokens made from them (README, "Authentication"; recorded in 01_auth)."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from typing import Any

import jwt

from .envelope import API_VERSION, SERVER_VERSION, ApiError

COOKIE = "clearml_token_basic"
_DEFAULT_LIFE_S = 30 * 24 * 3600


class Credentials:
    """The key pairs that may log in. `access_key` and `secret_key` are the pair in `ClearMLServer.environ`."""

    def __init__(self) -> None:
        self.access_key = "TESTACCESSKEY0000000"
        self.secret_key = secrets.token_hex(16)
        self._pairs = {self.access_key: self.secret_key}
        self._signing_key = secrets.token_hex(32)
        self._checked: dict[str, float] = {}
        """Tokens that were found valid, and when they expire: a check takes 0.2 ms, and each request needs one."""

    def add(self, access_key: str, secret_key: str) -> None:
        """Let another key pair log in."""
        self._pairs[access_key] = secret_key

    def revoke(self, access_key: str | None = None, *, tokens: bool = False) -> None:
        """Refuse a key pair (the default one unless given) from now on: 401/22.

        Args:
            access_key: The pair to revoke.
            tokens: Refuse also every token handed out so far (401/30); the real server does so when it is set up
                anew with another signing key, and otherwise honours tokens until they expire.
        """
        self._pairs.pop(access_key or self.access_key, None)
        if tokens:
            self._signing_key = secrets.token_hex(32)
            self._checked.clear()

    def restore(self) -> None:
        """Accept the default key pair again."""
        self._pairs[self.access_key] = self.secret_key

    def token(self, identity: dict[str, Any], life_s: int | None = None) -> str:
        """A JWT (HS256): the SDK decodes its payload without checking the signature."""
        issued = int(time.time())
        payload = {
            "iat": issued,
            "exp": issued + (life_s if life_s and life_s > 0 else _DEFAULT_LIFE_S),
            "auth_type": "Bearer",
            "session_id": secrets.token_hex(16),
            "env": "<unknown>",
            "identity": identity,
            "api_version": API_VERSION,
            "server_version": SERVER_VERSION,
            "server_build": "",
            "feature_set": "basic",
        }
        return jwt.encode(payload, self._signing_key, algorithm="HS256")

    def check(self, header: str | None, cookie: str | None) -> None:
        """Accept Basic, Bearer or the cookie; raise 401 with the recorded subcode otherwise."""
        if not header:
            if not cookie:
                raise ApiError(401, 20, "Unauthorized (missing credentials)")
            self.check_token(cookie)
            return
        scheme, _, value = header.partition(" ")
        if scheme == "Bearer":
            self.check_token(value.strip())
        elif scheme == "Basic":
            self._check_pair(value.strip())
        else:
            raise ApiError(401, 10, "Unauthorized (bad authentication header type)")

    def check_token(self, token: str) -> None:
        """Raise 401/30 with PyJWT's own reason."""
        if time.time() < self._checked.get(token, 0):
            return
        try:
            read = jwt.decode(token, self._signing_key, algorithms=["HS256"], options={"verify_iat": False})
        except jwt.PyJWTError as error:
            raise ApiError(401, 30, f"Invalid token (invalid jwt token): reason={error}") from None
        self._checked[token] = read["exp"]

    def _check_pair(self, encoded: str) -> None:
        try:
            pair = base64.b64decode(encoded).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ApiError(401, 21, f"Unauthorized (malformed credentials) ({error})") from None
        access_key, _, secret_key = pair.partition(":")
        if not access_key or self._pairs.get(access_key) != secret_key:
            reason = "failed to locate provided credentials"
            raise ApiError(401, 22, f"Unauthorized (invalid credentials) ({reason})")
