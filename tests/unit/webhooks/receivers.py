"""Receivers on loopback that speak raw bytes, so that they can misbehave."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Receiver:
    """``requests`` are what came, head and body; ``talk`` answers on the connection."""

    def __init__(self, talk: Callable[[socket.socket], None], context: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self._talk, self._context = talk, context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def url(self, path: str = "/in", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def _serve(self) -> None:
        while True:
            try:
                opened, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                self._handle(opened)
            opened.close()

    def _handle(self, opened: socket.socket) -> None:
        if self._context is not None:
            opened = self._context.wrap_socket(opened, server_side=True)
        with contextlib.closing(opened):
            self.requests.append(read_request(opened))
            self._talk(opened)

    def close(self) -> None:
        # A close alone does not wake who accepts.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


def read_request(opened: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += opened.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += opened.recv(65536)
    return head + b"\r\n\r\n" + body


def say(answer: bytes) -> Callable[[socket.socket], None]:
    return lambda opened: opened.sendall(answer)


@contextmanager
def receive(
    talk: Callable[[socket.socket], None] | bytes, context: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    receiver = Receiver(say(talk) if isinstance(talk, bytes) else talk, context)
    try:
        yield receiver
    finally:
        receiver.close()
