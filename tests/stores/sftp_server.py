"""An SFTP server over a folder, made of paramiko's parts."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import paramiko

USER, PASSWORD = "trainer", "open-sesame"


class SFTPServer:
    """Serves a folder as its root.

    Attributes:
        url: address of the root, with user and password.
        known_host: the line for `known_hosts`.
    """

    def __init__(self, folder: Path) -> None:
        self._key = paramiko.ECDSAKey.generate()
        self._handle = type("Handle", (_Handle,), {"root": str(folder)})
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[paramiko.Transport] = []
        self.url = f"sftp://{USER}:{PASSWORD}@127.0.0.1:{self._listener.getsockname()[1]}"
        self.known_host = f"127.0.0.1 {self._key.get_name()} {self._key.get_base64()}\n"

    def __enter__(self) -> SFTPServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        for transport in self._open:
            transport.close()

    @property
    def connections(self) -> int:
        """Number of connected clients."""
        return sum(transport.is_active() for transport in self._open)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._welcome, args=(client,), daemon=True).start()

    def _welcome(self, client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        self._open.append(transport)
        transport.add_server_key(self._key)
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, self._handle)
        with contextlib.suppress(EOFError, paramiko.SSHException):
            transport.start_server(server=_Server())


class _Server(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        is_right = (username, password) == (USER, PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Handle(paramiko.SFTPServerInterface):
    root: str

    def _place(self, path: str) -> str:
        return self.root + self.canonicalize(path)

    def list_folder(self, path: str) -> Any:
        try:
            return [self._described(entry.name, entry.stat()) for entry in os.scandir(self._place(path))]
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(Path(self._place(path)).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            file = os.fdopen(os.open(self._place(path), flags, 0o600), "wb" if flags & os.O_WRONLY else "rb")
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle = paramiko.SFTPHandle(flags)
        handle.filename = self._place(path)
        handle.readfile = handle.writefile = file
        return handle

    def mkdir(self, path: str, attr: Any) -> int:
        try:
            Path(self._place(path)).mkdir()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return paramiko.SFTP_OK

    def chattr(self, path: str, attr: Any) -> int:
        return paramiko.SFTP_OK

    def _described(self, name: str, status: os.stat_result) -> Any:
        described = paramiko.SFTPAttributes.from_stat(status)
        described.filename = name
        return described
