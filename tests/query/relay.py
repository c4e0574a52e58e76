"""A relay between clients and a database, which can keep messages back, as poolers and broken networks do."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

_NOTIFICATION: Final = b"A"


class Relay:
    """Passes on what clients and server say; `drops_notifications` and `is_mute` may be changed at any time."""

    def __init__(self, url: str, *, drops_notifications: bool = False) -> None:
        self._parts = urlsplit(url)
        self.drops_notifications = drops_notifications
        self.is_mute = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []

    @property
    def url(self) -> str:
        """The database's URL through the relay."""
        user, _, _ = self._parts.netloc.rpartition("@")
        address = f"{user}@127.0.0.1:{self._port}"
        # What is encrypted could not be told apart.
        return urlunsplit(self._parts._replace(netloc=address, query="sslmode=disable&gssencmode=disable"))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.go_away()

    def go_away(self) -> None:
        """End all connections, and answer no more."""
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets = []

    def come_back(self) -> None:
        """Answer again, at the same address."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._parts.hostname or "127.0.0.1", self._parts.port or 5432))
                self._sockets += [client, server]
                threading.Thread(target=self._pass_questions, args=[client, server], daemon=True).start()
                threading.Thread(target=self._pass_answers, args=[server, client], daemon=True).start()

    def _pass_questions(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        """Message by message, each a letter and its length, which counts itself but not the letter."""
        held = b""
        with suppress(OSError):
            while data := server.recv(65536):
                held += data
                while len(held) >= 5 and len(held) > (length := int.from_bytes(held[1:5], "big")):
                    message, held = held[: length + 1], held[length + 1 :]
                    if not (self.is_mute or (self.drops_notifications and message[:1] == _NOTIFICATION)):
                        client.sendall(message)
            client.shutdown(socket.SHUT_WR)
        # Who still says something to a client that is gone must not wait for it, and keep what it has locked.
        server.close()
