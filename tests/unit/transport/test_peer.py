from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinstrument.transport import peer
from autoinstrument.transport.peer import WrongUserError


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The connecting end and the listening end of a connection."""
    monkeypatch.chdir(tmp_path)  # a short path
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as connecting:
        listener.bind("socket")
        listener.listen()
        connecting.connect("socket")
        accepted, _ = listener.accept()
        with accepted:
            yield connecting, accepted


def test_the_same_user(ends: tuple[socket.socket, socket.socket]) -> None:
    for end in ends:
        peer.check(end)
    for end in socket.socketpair():
        with end:
            peer.check(end)


def test_another_user_is_refused_at_both_ends(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's word about the other end is real; this process is another user's from now on. So is root's."""
    user = os.geteuid()
    for own in (user + 1, 0 if user else 1):
        monkeypatch.setattr(os, "geteuid", lambda own=own: own)
        for end in ends:
            with pytest.raises(WrongUserError, match=f"belongs to user {user}"):
                peer.check(end)


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user_finds_the_listener_to_be_roots(tmp_path: Path) -> None:
    """And the listening process refuses it, although the folder's mode lets it in."""
    path = Path("/tmp", f"peer-{os.getpid()}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as connecting:
                    connecting.connect(str(path))
                    try:
                        peer.check(connecting)
                    except WrongUserError:
                        code = 0
                    connecting.recv(1)  # until the other end has looked
            finally:
                os._exit(code)
        accepted, _ = listener.accept()
        with accepted, pytest.raises(WrongUserError, match="belongs to user 65534"):
            peer.check(accepted)
        accepted.close()
        assert os.waitpid(child, 0)[1] == 0
        path.unlink()


def test_a_peer_without_a_user_is_not_refused() -> None:
    """A connection that is no Unix socket, as on Windows, is one that this process has made itself."""
    with socket.socket(socket.AF_INET) as connection:
        peer.check(connection)
