"""A ClearML server for tests: the unmodified SDK talks to it over a real socket. See README.md beside this file."""

from .faults import Fault
from .gate import RecordedRequest
from .server import ClearMLServer

__all__ = ["ClearMLServer", "Fault", "RecordedRequest"]
