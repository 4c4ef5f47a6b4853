"""The server's socket."""

from __future__ import annotations

import socket

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.server.serve import listen


def test_connections_send_without_delay() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(TwelvefoldError, match=rf"cannot listen at 127\.0\.0\.1, port {port}: .*--port 0"):
            listen("127.0.0.1", port)
