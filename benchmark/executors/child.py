"""A process that computes cells one after another, and can be stopped without harm to its parent.

It lives until it dies, is killed for going over a limit, or its parent ends, however that ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

from joblib.externals.loky.backend.context import get_context

from benchmark.executors.work import Limits

PAUSE = 0.2
"""Seconds between two looks at what a process takes."""


class Died(Exception):
    """The process ended in the middle of a cell; the message says how."""


class Exceeded(Exception):
    """A cell went over a limit; the message says which."""


class Child:
    """A process that calls one function at a time."""

    def __init__(self) -> None:
        context = get_context("loky")  # the one that works inside loky's own workers as well
        self._connection, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, os.getpid()), daemon=True)
        self._process.start()
        there.close()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process can be called."""
        return self._process.is_alive()

    def call(self, function: Callable[..., Any], *args: Any, limits: Limits = Limits()) -> Any:  # noqa: B008
        """Call ``function(*args)`` in the process; return its value or raise what it raises.

        Raises:
            Died: the process ended before it was done.
            Exceeded: it took more than ``limits``, and was killed.
        """
        try:
            self._connection.send((function, args))
            self._wait(limits)
            failed, value = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise Died(_describe_exit(self._process.exitcode)) from None
        except BaseException:
            self.kill()
            raise
        if failed:
            raise value
        return value

    def kill(self) -> None:
        """End the process at once."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        self._process.join()

    def _wait(self, limits: Limits) -> None:
        """Wait until the process answers or dies."""
        started = time.monotonic()
        # without limits there is nothing to look at: block until it answers
        while not self._connection.poll(PAUSE if limits else None):
            if limits.minutes is not None and time.monotonic() - started > 60 * limits.minutes:
                raise Exceeded(f"stopped after {limits.minutes:g} minutes, the limit (limits.minutes)")
            if limits.gib is not None and (used := _measure_gib(self.pid)) > limits.gib:
                raise Exceeded(f"stopped at {used:.2f} GiB of memory, the limit is {limits.gib:g} (limits.gib)")


def _serve(connection: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted as well, and ends this process
    end_with_parent(parent)
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        try:
            answer = (False, function(*args))
        except Exception as error:
            answer = (True, error)
        connection.send(answer)


@cache
def end_with_parent(parent: int) -> None:
    """End this process soon after its parent, of this number: a parent that was killed cannot end its children.

    In the parent itself, where a pool of one may run what was meant for a worker, nothing happens.
    """
    if os.getpid() == parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PAUSE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        short = ": the system may be short of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{short}"
    return f"its process ended with status {exit_code}"


def _measure_gib(pid: int) -> float:
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss / 2**30
    except psutil.NoSuchProcess:
        return 0.0
