"""Log in to the ClearML server, and return what the configuration says about it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from autoinstrument.capture.settings import CaptureSettings
from autoinstrument.clearml_api import sdk
from autoinstrument.clearml_api.errors import ClearMLError, NotAllowedError
from autoinstrument.clearml_api.failures import login_failure
from autoinstrument.clearml_api.monitor_settings import MonitorSettings, monitor_settings
from autoinstrument.clearml_switches import clearml_variable, refusal, switched_off
from autoinstrument.scrubber import hint

_importing = threading.Lock()
"""Held while the SDK is imported: `sdk.load` allows for one thread only."""


class Login:
    """The SDK's session, which is logged in when it is first needed, and the servers and settings behind it.

    Methods that need the session or the configuration raise `NotAllowedError` without usable credentials or
    configuration, and `UnavailableError` if the server does not answer.

    Args:
        lean: import the SDK without pandas and pyarrow; for a process of the agent's own.
    """

    def __init__(self, *, lean: bool = False) -> None:
        self._lean = lean
        self._session: Any = None
        self._logging_in = threading.Lock()
        self._configured: dict[str, Any] = {}
        """Values of the configuration: reading one takes 0.3 ms, and some are needed for each Task."""

    def session(self) -> Any:
        """Return the SDK's session."""
        session = self._session
        if session is None:
            with self._logging_in:
                session = self._session = self._session or self._logged_in()
        return session

    def forget(self) -> None:
        """Leave the session to a thread that may still use it; the next request logs in again."""
        self._session, self._logging_in = None, threading.Lock()

    def _logged_in(self) -> Any:
        with _login_errors():
            if switch := switched_off():
                raise NotAllowedError(f"{refusal(switch)}; unset it to go on")
            self._load()
            return sdk.log_in()

    def _load(self) -> None:
        with _importing:
            sdk.load(lean=self._lean)

    def addresses(self) -> dict[str, str]:
        """Return the addresses of the servers (`api`, `web`, `files`), and the beginning of the access key (`key`)."""
        session = self.session()
        with _login_errors():
            api, web, files = sdk.addresses(session)
            return {"api": api, "web": web, "files": files, "key": hint(sdk.access_key(session))}

    def files_server(self) -> str:
        """Return the address to which files are uploaded; it may be a storage bucket or a folder."""
        session = self.session()
        with _login_errors():
            return sdk.files_address(session).rstrip("/")

    def figures_destination(self) -> str:
        """Return the address to which matplotlib's figures are uploaded: the configured one, else the file server."""
        given = str(self._read("metrics.plot_upload_destination", sdk.configured) or "").strip()
        return given.rstrip("/") or self.files_server()

    def output_uri(self, of_task: str = "") -> str:
        """Return the address to which artifacts are uploaded.

        That is the Task's own output destination, else the configured one, else the file server.
        """
        given = of_task or self._default_output_uri()
        return given.rstrip("/") if given.lower() not in ("", "true", "false", "none") else self.files_server()

    def task_fields(self) -> dict[str, Any]:
        """Return the fields of a new Task that are configured, as `Task.init` sets them.

        These are the storage for its files, and the container in which an agent runs it.
        """
        output = self._default_output_uri()
        fields: dict[str, Any] = {"output_dest": output} if output.lower() not in ("", "true", "false", "none") else {}
        image, _, arguments = clearml_variable("DOCKER_IMAGE").partition(" ")
        setup = clearml_variable("DOCKER_BASH_SCRIPT")
        if image or setup:
            fields["container"] = {"image": image, "arguments": arguments, "setup_shell_script": setup}
        return fields

    def supports_stopping(self) -> bool:
        """Return False if the configuration says that a Task that is stopped does not stop its process."""
        return not self._is_configured("support_stopping", "false")

    def logs_console(self) -> bool:
        """Return False if the configuration says that Tasks have no console."""
        return not self._is_configured("worker.log_stdout", "false")

    def capture_settings(self) -> CaptureSettings:
        """Return the configuration's settings about the capture."""
        variables = clearml_variable("LOG_ENVIRONMENT") or self._development("log_os_environments") or ()
        if isinstance(variables, str):
            variables = variables.strip("[]").split(",")
        return CaptureSettings(
            stored=not self._is_configured("store_uncommitted_code_diff", "false"),
            from_remote=self._is_configured("store_code_diff_from_remote", "true"),
            pip_freeze=self._is_configured("detect_with_pip_freeze", "true"),
            variables=tuple(str(each) for each in variables),
        )

    def monitor_settings(self) -> MonitorSettings:
        """Return the configuration's settings about the machine's figures."""
        return monitor_settings(lambda name: self._development(f"worker.{name}"))

    def _is_configured(self, name: str, value: str) -> bool:
        return str(self._development(name)).lower() == value

    def _development(self, name: str) -> Any:
        """Return a value of the configuration's section `sdk.development`, None if it is not set.

        A configuration that cannot be read is reported at the login.
        """
        with contextlib.suppress(ClearMLError):
            return self._read(f"development.{name}", sdk.configured)
        return None

    def _default_output_uri(self) -> str:
        return str(self._read("output", lambda _: sdk.default_output_uri()))

    def _read(self, name: str, read: Callable[[str], Any]) -> Any:
        if name not in self._configured:
            with _login_errors():
                self._load()
                self._configured[name] = read(name)
        return self._configured[name]

    def task_page(self, task_id: str, project_id: str) -> str:
        """Return the address of a Task's page, "" if no web server is known."""
        with _login_errors():
            return sdk.task_page(task_id, project_id)

    def models_have_events(self) -> bool:
        """Return False if the server is too old for points of models."""
        self.session()
        with _login_errors():
            return sdk.models_have_events()


class _login_errors:  # noqa: N801  (reads as a statement)
    """Raise the SDK's exceptions as this package's."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, ClearMLError):
            raise login_failure(error) from error
