"""`ClearMLServer`: the double as tests use it."""

from __future__ import annotations

import functools
import pickle
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from . import readout
from .api import create_api
from .credentials import Credentials
from .envelope import Doc
from .faults import Faults
from .files import create_files
from .gate import Gate, RecordedRequest
from .listener import Listener
from .pages import create_pages
from .state import State

Value = TypeVar("Value")


class ClearMLServer:
    """A ClearML server in this process, on three ports of the loopback interface, as the real one has three.

    Use it as a context manager, or call `start()` and `close()`. All state is in memory.

    Args:
        port: Port of the API; 0 takes a free one, for the web and file ports too.
        web_port: Port of the pages.
        files_port: Port of the file server.
        host: Address to listen on.
    """

    def __init__(self, port: int = 0, web_port: int = 0, files_port: int = 0, host: str = "127.0.0.1") -> None:
        self.state = State()
        self._gate = Gate()
        self._host = host
        self._api = Listener(functools.partial(create_api, self.state, self._gate), host, port)
        self._files = Listener(functools.partial(create_files, self.state, self._gate), host, files_port)
        self._web = Listener(functools.partial(create_pages, self.state, self._gate), host, web_port)

    def __enter__(self) -> ClearMLServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start listening, on the same ports as before when it listened already."""
        self._gate.closing = threading.Event()
        for listener in (self._api, self._files, self._web):
            listener.open()

    def close(self) -> None:
        """Refuse connections, cut the open ones, end hung requests. The stored data stays readable."""
        self._gate.closing.set()
        for listener in (self._api, self._files, self._web):
            listener.close()

    stop = close

    @property
    def api_url(self) -> str:
        return f"http://{self._host}:{self._api.port}"

    @property
    def web_url(self) -> str:
        return f"http://{self._host}:{self._web.port}"

    @property
    def files_url(self) -> str:
        return f"http://{self._host}:{self._files.port}"

    @property
    def environ(self) -> dict[str, str]:
        """Variables that point the SDK here, and away from the configuration file of the person who runs the tests."""
        nowhere = Path(tempfile.gettempdir()) / "clearml-double-has-no-configuration.conf"
        return {
            "CLEARML_API_HOST": self.api_url,
            "CLEARML_WEB_HOST": self.web_url,
            "CLEARML_FILES_HOST": self.files_url,
            "CLEARML_API_ACCESS_KEY": self.credentials.access_key,
            "CLEARML_API_SECRET_KEY": self.credentials.secret_key,
            "CLEARML_CONFIG_FILE": str(nowhere),
        }

    @property
    def faults(self) -> Faults:
        return self._gate.faults

    @property
    def credentials(self) -> Credentials:
        return self.state.credentials

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, in the order in which they were answered."""
        return self._gate.records

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._gate.clear_records()

    def calls(self, endpoint: str) -> list[RecordedRequest]:
        """The requests to one endpoint."""
        return [request for request in self.requests if request.endpoint == endpoint]

    @property
    def tasks(self) -> list[Doc]:
        """Copies of all Tasks as stored (the form of tasks.get_by_id), in order of creation."""
        return self.tasks_where(lambda task: True)

    def tasks_where(self, condition: Callable[[Doc], object]) -> list[Doc]:
        """Copies of the Tasks as stored that fulfil a condition, which must not change them, in order of creation."""
        with self.state.lock:
            return _copy([task for task in self.state.tasks.values() if condition(task)])

    def task(self, task_id: str) -> Doc:
        """A copy of one Task as stored; KeyError where there is none."""
        with self.state.lock:
            return _copy(self.state.tasks[task_id])

    @property
    def models(self) -> list[Doc]:
        """Copies of all models as stored, in order of creation."""
        with self.state.lock:
            return _copy(list(self.state.models.values()))

    def project_name(self, project_id: str) -> str:
        """Full path of a project; KeyError where there is none."""
        with self.state.lock:
            return str(self.state.projects[project_id]["name"])

    def scalars(self, task_id: str) -> dict[str, dict[str, list[tuple[int | None, Any, int]]]]:
        """Curves as stored: metric → variant → (iteration, value as sent, timestamp in ms), by iteration and time."""
        with self.state.lock:
            return readout.scalars(self.state, task_id)

    def console(self, task_id: str) -> str:
        """The log of a Task: messages in time order, each with one newline at its end."""
        with self.state.lock:
            return readout.console(self.state, task_id)

    def events(self, task_id: str) -> list[Doc]:
        """Copies of all events of a Task as stored, in order of arrival."""
        with self.state.lock:
            return _copy(list(self.state.events.get(task_id, [])))

    @property
    def files(self) -> dict[str, bytes]:
        """Uploaded files: path without leading slash → content."""
        with self.state.lock:
            return dict(self.state.files)


def _copy(value: Value) -> Value:
    """Return a deep copy of plain data, in a tenth of the time that `copy.deepcopy` takes."""
    copied: Value = pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    return copied
