"""Progress for people: one line a step, with its time; on failure the reason and where to read on."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

_FRAME_SECONDS = 0.2


class StepFailed(Exception):
    """A step could not be done. ``hint`` says what to do or read next."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Progress:
    """Prints to ``stream``; on a terminal the running step counts its seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.animated = self.stream.isatty()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show ``what`` while the body runs, and how long it took."""
        started = time.monotonic()
        done = threading.Event()
        ticker = threading.Thread(target=self._animate, args=(what, started, done), daemon=True)
        if self.animated:
            ticker.start()
        else:
            self.say(f"  ... {what}")
        outcome = "failed"
        try:
            yield
            outcome = "ok"
        finally:
            done.set()
            if self.animated:
                ticker.join()
                self.stream.write("\r\033[K")
            self.say(f"  {outcome:>6} {what} ({time.monotonic() - started:.1f} s)")

    def say(self, line: str) -> None:
        self.stream.write(f"{line}\n")
        self.stream.flush()

    def _animate(self, what: str, started: float, done: threading.Event) -> None:
        while not done.wait(_FRAME_SECONDS):
            self.stream.write(f"\r\033[K  {time.monotonic() - started:5.0f}s {what}")
            self.stream.flush()
