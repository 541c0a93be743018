"""Ctrl-C, SIGTERM and a closed terminal: the first asks for a clean stop, a second Ctrl-C stops now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class StopNow(KeyboardInterrupt):
    """The user does not want to wait. A KeyboardInterrupt, so that no `except Exception` swallows it."""


class SignalGuard:
    """Handle SIGINT, SIGTERM and SIGHUP while a run is on; previous handlers come back at the end.

    Args:
        on_first: called, in a thread of its own, with the signal's name when a stop is asked for.
    """

    def __init__(self, on_first: Callable[[str], None] = lambda name: None) -> None:
        self.on_first = on_first
        self._previous: dict[signal.Signals, Any] = {}
        self.stop_requested = False
        self.signal_name = ""

    def __enter__(self) -> SignalGuard:
        self.install()
        return self

    def __exit__(self, *exc: object) -> None:
        if _in_main_thread():
            for number, handler in self._previous.items():
                signal.signal(number, handler)
        self._previous.clear()

    def install(self) -> None:
        """Set the handlers; again after the engine is built, because `ray.init` replaces SIGTERM's."""
        if not _in_main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup
            previous = signal.signal(number, self._handle)
            if previous != self._handle:
                self._previous.setdefault(number, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if not self.stop_requested:
            self.stop_requested, self.signal_name = True, name
            # In a thread: the handler may have interrupted a print, and output streams are not reentrant.
            threading.Thread(target=self.on_first, args=(name,), daemon=True).start()
        elif number == signal.SIGINT:
            raise StopNow(name)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
