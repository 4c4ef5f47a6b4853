"""``twelvefold serve``: one model over HTTP, for the page in a browser and for programs. docs/serving.md."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.server.settings import Settings
    from twelvefold.serving.model_info import ModelInfo


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, and where."""

    address: str
    about: ModelInfo


def serve(settings: Settings, announce: Callable[[Serving], None]) -> None:
    """Serve until SIGTERM or SIGINT; then take no more, finish what is under way, and return.

    ``announce`` is called once questions are taken.

    Raises:
        TwelvefoldError: the extra packages aren't there, the port is taken, or there is no such model.
    """
    try:
        import uvicorn

        from twelvefold.server import logs
        from twelvefold.server.app import create_app
    except ModuleNotFoundError as error:
        advice = "get them with pip install 'twelvefold[serve]'"
        raise TwelvefoldError(f"serving needs packages that aren't installed ({error.name}); {advice}") from error
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
        app.state.service.warm()
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # ours has ids
            server_header=False,
            proxy_headers=False,  # a client could give itself any address
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=int(settings.time_limit) + 1,
        )
        # uvicorn raises the signal that ended it again; a server that was asked to stop, and did, has done its job.
        signal.signal(signal.SIGTERM, lambda *_: None)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        announce(Serving(address, predictor.about))
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections there; port 0: any that is free.

    Raises:
        TwelvefoldError: the port is taken, there is no such address, or it isn't ours to take.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        advice = "choose another with --port, or --port 0 for any that is free"
        raise TwelvefoldError(f"can't listen at {host}, port {port}: {error.strerror or error}; {advice}") from error
    # For the connections it takes. An answer goes out in two pieces, and without this the second waits 40 ms for the
    # client to acknowledge the first; asyncio sees to it only for sockets that it made itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
