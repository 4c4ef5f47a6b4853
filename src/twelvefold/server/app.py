"""The FastAPI application: the endpoints around one model, and the middleware around the endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.formparsers import MultiPartParser

from twelvefold.server import endpoints, errors, pages
from twelvefold.server.examples import add_examples
from twelvefold.server.limits import LimitsMiddleware, byte_budget
from twelvefold.server.metrics import Metrics
from twelvefold.server.middleware import RequestMiddleware
from twelvefold.server.service import Service
from twelvefold.server.settings import Settings
from twelvefold.server.task_forms import make_forms
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.samples import load_samples

DESCRIPTION = """One vision-and-language model for many tasks. Send an image and a text as a form; get ranked answers,
each with a probability and, for tasks that point at objects, a box in pixels of the image. The server never opens a
path or a URL that a client sends."""


def create_app(predictor: Predictor, settings: Settings) -> FastAPI:
    """Return the application with its model thread running; the thread ends with the application's lifespan."""
    metrics, budget = Metrics(), byte_budget(settings)
    service = Service(predictor, settings, metrics=metrics, budget=budget)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    # Uploads stay in memory instead of temporary files: the server needs no writable disk and leaves no images on one.
    MultiPartParser.spool_max_size = settings.max_bytes
    app = FastAPI(
        title="twelvefold",
        description=DESCRIPTION,
        version=version("twelvefold"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        form_limits={
            "max_files": settings.max_images + 1,
            "max_fields": settings.max_search_images + 100,
            "max_part_size": 1_000_000,
        },
        exception_handlers=dict.fromkeys(errors.HANDLED, errors.handle_error),
    )
    app.state.service = service
    for router in (endpoints.router, pages.about, pages.health, pages.pages):
        app.include_router(router)
    app.mount("/page", pages.RevalidatedFiles(directory=pages.PAGE), name="page")
    app.mount("/reference", pages.RevalidatedFiles(directory=pages.REFERENCE), name="reference")
    app.add_middleware(LimitsMiddleware, settings=settings, metrics=metrics, budget=budget)
    app.add_middleware(RequestMiddleware, metrics=metrics)  # added last, so it is the outermost
    network = predictor.network
    forms = make_forms(network.tasks.values(), network.head_specs)
    add_examples(app.openapi(), load_samples(), forms)  # the application keeps the document that openapi() returns
    return app
