"""Tells a workload that it will be ended: a file that appears, and a socket that speaks.

Both are in one directory that the workload sees and cannot write. A program that looks now and then reads the
file; one that wants to know at once connects to the socket and reads until it closes.
"""

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from host_agent.durable import read_if_there, write_atomic

NOTICE = "notice"
FILE, SOCKET = "notice.json", "notice.sock"
#: Connections of one workload that may wait; more are turned away.
MAX_LISTENERS = 16
_OPEN_TO_ALL = 0o755


class Notice(msgspec.Struct, frozen=True):
    """What the file holds and the socket says, as one line of JSON; host time."""

    reason: str
    deadline_at_ms: int


def name_notice(directory: Path) -> Mapping[str, str]:
    """Return the variables that tell a workload where to look; ``directory`` as the workload sees it."""
    return {
        "PROVOCATIVE_NOTICE_FILE": str(directory / FILE),
        "PROVOCATIVE_NOTICE_SOCKET": str(directory / SOCKET),
    }


class NoticeBoard:
    """The sockets of all workloads, served by one thread that is started with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._servers: dict[Path, socket.socket] = {}
        self._listeners: dict[Path, list[socket.socket]] = {}
        self._started = False

    def serve(self, directory: Path) -> None:
        """Open the socket of a workload unless it is open. Raises OSError."""
        with self._lock:
            if directory in self._servers:
                return
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_OPEN_TO_ALL)
            server = _bind(directory)
            self._servers[directory], self._listeners[directory] = server, []
            self._selector.register(server, selectors.EVENT_READ, directory)
            if not self._started:
                threading.Thread(target=self._serve, name="notices", daemon=True).start()
                self._started = True

    def announce(self, directory: Path, notice: Notice | None) -> None:
        """Write the notice and tell all who wait, or take it back. Raises OSError: nobody was told."""
        with self._lock:
            if notice is None:
                (directory / FILE).unlink(missing_ok=True)
                return
            text = msgspec.json.encode(notice) + b"\n"
            if read_if_there(directory / FILE) != text:
                write_atomic(directory / FILE, text, 0o644)
            for listener in self._listeners.get(directory, []):
                _tell(listener, text)
            if directory in self._listeners:
                self._listeners[directory] = []

    def close(self, directory: Path) -> None:
        with self._lock:
            server = self._servers.pop(directory, None)
            if server is not None:
                self._selector.unregister(server)
                for each in (server, *self._listeners.pop(directory)):
                    each.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                with self._lock, contextlib.suppress(OSError):
                    self._accept(key.data)

    def _accept(self, directory: Path) -> None:
        if directory not in self._servers:
            return
        listener, _ = self._servers[directory].accept()
        text = read_if_there(directory / FILE)
        listeners = self._listeners[directory]
        if text is not None:
            _tell(listener, text)
        elif len(listeners) >= MAX_LISTENERS:
            listener.close()
        else:
            listeners.append(listener)


def _tell(listener: socket.socket, text: bytes) -> None:
    with contextlib.closing(listener), contextlib.suppress(OSError):
        listener.setblocking(False)
        listener.sendall(text)


def _bind(directory: Path) -> socket.socket:
    with _short_path(directory) as short:
        aside = directory / SOCKET
        aside.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.setblocking(False)
            server.bind(f"{short}/{SOCKET}")
            # The workload has a user of its own, and a socket is connected to by writing.
            aside.chmod(0o666)
            server.listen()
        except OSError:
            server.close()
            raise
        return server


@contextlib.contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """Name a directory by its descriptor: a socket's path may have 107 characters. Source: unix(7)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
