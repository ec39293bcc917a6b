"""Run the jobs of `sync --jobs` in processes: a job is mostly Python code, and threads share one interpreter's lock."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from autoinstrument.sync import request_counts

_END_S = 60.0
"""How long a process may go on with its last job after the executor was shut down; a request takes 30 s at most."""
_Connection = Any
"""An end of a pipe; its class depends on the platform."""
_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class JobProcessError(Exception):
    """The process of a job has ended before the job was done, or cannot pass on the exception that the job raised."""


class JobProcesses(Executor):
    """An executor of which each process does one job at a time, the oldest first.

    If a process is killed, its job fails with `JobProcessError`, and the others go on. If none is left, so does every
    further job. Ctrl-C is left to the process that submits.
    """

    def __init__(self, count: int) -> None:
        """Start `count` processes: by fork on Linux, unless this process has other threads, else anew.

        A fork takes milliseconds and shares the modules that are loaded. No store or session may be open.
        """
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._left = count
        """Processes that take jobs."""
        is_safe = sys.platform == "linux" and threading.active_count() == 1
        context = multiprocessing.get_context("fork" if is_safe else "spawn")
        self._processes: list[Any] = []
        connections: list[_Connection] = []
        for _ in range(count):
            here, there = context.Pipe()
            inherited = [*connections, here] if is_safe else []
            arguments = there, inherited, request_counts.is_counting()
            process: Any = context.Process(target=_serve, args=arguments, name="autoinstrument-sync")  # type: ignore[attr-defined]
            process.start()
            there.close()
            self._processes.append(process)
            connections.append(here)
        self._threads = [
            threading.Thread(target=self._feed, args=(process, connection), daemon=True)
            for process, connection in zip(self._processes, connections, strict=True)
        ]
        for thread in self._threads:  # only now: no fork may follow
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand over a call, which must be picklable, with its result and exceptions; it has no keyword arguments."""
        if kwargs:
            raise TypeError("a job has no keyword arguments")
        future: Future[Any] = Future()
        with self._lock:
            if self._left:
                self._jobs.put((future, fn, args))
                return future
        future.set_exception(JobProcessError("no process is left for it"))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the processes end after their present jobs, if `wait`, and wait for that."""
        if cancel_futures:
            self._fail_waiting(cancel=True)
        for _ in self._threads:
            self._jobs.put(None)
        for thread, process in zip(self._threads, self._processes, strict=True) if wait else ():
            thread.join(_END_S)
            if process.is_alive():
                process.terminate()

    def _feed(self, process: Any, connection: _Connection) -> None:
        """Give jobs to a process until the executor is shut down or the process is gone."""
        with connection:
            while (job := self._jobs.get()) is not None:
                future, fn, args = job
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    connection.send((fn, args))
                    result, error, requests = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    self._lose(future, process.exitcode)
                    return
                except Exception as raised:  # the call cannot be pickled, or its result cannot be unpickled
                    future.set_exception(raised)
                    continue
                request_counts.add(requests)
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
        process.join(_END_S)

    def _lose(self, future: Future[Any], exit_code: int) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self._fail_waiting()
        how = f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
        future.set_exception(JobProcessError(f"its process ended {how}"))

    def _fail_waiting(self, *, cancel: bool = False) -> None:
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                continue
            if cancel:
                job[0].cancel()
            elif job[0].set_running_or_notify_cancel():
                job[0].set_exception(JobProcessError("no process is left for it"))


def _serve(connection: _Connection, inherited: list[_Connection], counts_requests: bool) -> None:
    """Do jobs until the other end is closed, which a process that was killed closes, too."""
    for other in inherited:  # else this process would keep the ends of its siblings open
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if counts_requests:
        request_counts.count_requests()
    request_counts.take()  # those of the process from which this one was forked
    while True:
        try:
            fn, args = connection.recv()
        except (EOFError, OSError):
            return
        result = error = None
        try:
            result = fn(*args)
        except Exception as raised:  # it is the submitting process's to handle
            error = _passable(raised)
        try:
            connection.send((result, error, request_counts.take()))
        except OSError:
            return


def _passable(error: Exception) -> Exception:
    """Return the exception, or one that says the same if it cannot be pickled, as some of drivers and clients."""
    try:
        pickle.dumps(copy.deepcopy(error))  # the copy is made as it would be unpickled
    except Exception:
        return JobProcessError(f"{type(error).__name__}: {error}")
    return error
