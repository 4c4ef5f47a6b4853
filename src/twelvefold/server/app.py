"""The application: the endpoints around one model, behind the door and inside the frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from twelvefold.schema import TwelvefoldError
from twelvefold.server import endpoints, errors, pages
from twelvefold.server.examples import add_examples
from twelvefold.server.limits import Limits, Room
from twelvefold.server.metrics import Metrics
from twelvefold.server.middleware import Frame
from twelvefold.server.service import Service
from twelvefold.server.settings import Settings
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.samples import load_samples

ABOUT = """One vision-and-language model, many tasks. Send a picture and a text as a form; get ranked answers, each with
a probability and, where the task points at things, a box in pixels of the picture. Nothing that a client names is ever
opened: neither a path nor an address."""


def create_app(predictor: Predictor, settings: Settings) -> FastAPI:
    """The application, its model's thread running. It ends with the application's lifespan."""
    metrics, room = Metrics(), Room(settings.flight_bytes)
    service = Service(predictor, settings, metrics=metrics, room=room)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    # Uploads stay in memory, within the limit on a request, in place of temporary files: a disk that can't be written
    # is no hindrance, and nobody's picture is left on it.
    MultiPartParser.spool_max_size = settings.max_bytes
    app = FastAPI(
        title="twelvefold",
        description=ABOUT,
        version=version("twelvefold"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        form_limits={"max_files": settings.max_pictures + 1, "max_fields": 100, "max_part_size": 1_000_000},
        exception_handlers={
            HTTPException: errors.on_http,
            TwelvefoldError: errors.on_bad_input,
            RequestValidationError: errors.on_bad_form,
        },
    )
    app.state.service = service
    for router in (endpoints.router, pages.about, pages.health, pages.pages):
        app.include_router(router)
    app.mount("/page", pages.Files(directory=pages.PAGE), name="page")
    app.mount("/reference", pages.Files(directory=pages.REFERENCE), name="reference")
    app.add_middleware(Limits, settings=settings, metrics=metrics, room=room)
    app.add_middleware(Frame, metrics=metrics)  # added last, so the outermost
    described = app.openapi()  # made once; the application keeps it
    add_examples(described, load_samples())
    return app
