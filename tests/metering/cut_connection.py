"""A way to PostgreSQL that can be cut between any two messages, as by a crash or a network at its worst moment."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from django.db import connection

Moment = Literal["before", "after"]
_CHUNK = 65_536


class CuttableWay:
    """Forwards one connection at a time, and counts the messages we send; the armed one ends the connection.

    `before`: it never reaches the server. `after`: the server has it and acts on it, and we never learn how that ended.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server_address = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._left: int | None = None
        self._moment: Moment = "before"
        self.was_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, message: int, moment: Moment) -> None:
        """Cut at this message, counted from 1 and from now."""
        with self._lock:
            self._left, self._moment, self.was_cut = message, moment, False

    def disarm(self) -> None:
        with self._lock:
            self._left = None

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server_address)
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        """From us to the server, message by message: a type and a length, or at the start of a connection a length."""
        with suppress(OSError), client.makefile("rb") as stream:
            while first := stream.read(1):
                has_type = first != b"\0"
                head = first + stream.read(4 if has_type else 3)
                message = head + stream.read(int.from_bytes(head[-4:], "big") - 4)
                is_cut = has_type and self._is_cut_here()
                if not is_cut or self._moment == "after":
                    server.sendall(message)
                if is_cut:
                    break
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _is_cut_here(self) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= 1
            if self._left > 0:
                return False
            self._left, self.was_cut = None, True
            return True

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        """From the server to us, until it is done; when we are gone it is still heard out."""
        with suppress(OSError):
            while data := server.recv(_CHUNK):
                with suppress(OSError):
                    client.sendall(data)
        server.close()
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()


@contextmanager
def cuttable_connection() -> Iterator[CuttableWay]:
    """Django's connection goes this way while the block runs."""
    settings = connection.settings_dict
    usual = (settings["HOST"], settings["PORT"])
    way = CuttableWay(str(usual[0]), int(usual[1]))
    connection.close()
    settings["HOST"], settings["PORT"] = "127.0.0.1", str(way.port)
    try:
        yield way
    finally:
        connection.close()
        settings["HOST"], settings["PORT"] = usual
        way.close()
