"""Where the server listens."""

from __future__ import annotations

import socket

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.server.serve import listen


def test_answers_are_not_held_back_until_the_client_acknowledges() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(TwelvefoldError, match=rf"can't listen at 127\.0\.0\.1, port {port}: .*--port 0"):
            listen("127.0.0.1", port)
