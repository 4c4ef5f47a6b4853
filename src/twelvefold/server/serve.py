"""``twelvefold serve``: serve a model over HTTP, for browsers and for programs. See docs/serving.md."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.server.settings import Settings
    from twelvefold.serving.model_info import ModelInfo


def serve(settings: Settings, announce: Callable[[str, ModelInfo], None]) -> None:
    """Serve until SIGTERM or SIGINT, then answer the requests in progress and return.

    Args:
        settings: see docs/serving.md.
        announce: called with its address and its model when the server accepts requests.

    Raises:
        TwelvefoldError: the packages of ``twelvefold[serve]`` are missing, the port is in use, or there is no such
            model.
    """
    try:
        import uvicorn

        from twelvefold.server import logs
        from twelvefold.server.app import create_app
    except ModuleNotFoundError as error:
        advice = "run pip install 'twelvefold[serve]'"
        raise TwelvefoldError(f"serving needs packages that are not installed ({error.name}); {advice}") from error
    import twelvefold

    with listen(settings.host, settings.port) as listening:
        host, port = listening.getsockname()[:2]
        predictor = twelvefold.load(
            settings.model or None,
            detector=settings.detector or None,
            detector_weights=Path(settings.detector_weights) if settings.detector_weights else None,
            device=settings.device,
        )
        logs.log_as_json(settings.log_level)
        app = create_app(predictor, settings)
        app.state.service.warm_up()
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # the middleware logs requests with their ids
            server_header=False,
            proxy_headers=False,  # a client could claim any address
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=int(settings.time_limit) + 1,
        )
        # uvicorn raises the signal again after its shutdown; ignore it, so that the exit code is 0.
        signal.signal(signal.SIGTERM, lambda *_: None)
        announce(f"http://{f'[{host}]' if ':' in host else host}:{port}", predictor.about)
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 takes any free port.

    Raises:
        TwelvefoldError: the port is in use, there is no such address, or there is no permission.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        advice = "choose another port with --port, or any free one with --port 0"
        raise TwelvefoldError(f"cannot listen at {host}, port {port}: {error.strerror or error}; {advice}") from error
    # Accepted connections inherit this. A response is sent in two parts, and with Nagle's algorithm the second waits
    # 40 ms for the client's acknowledgment of the first. asyncio sets it only for sockets that it creates itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
