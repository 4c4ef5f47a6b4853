"""Everything but the tasks: the page, the reference, samples, which model this is, and how the server is."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from twelvefold.server import schemas
from twelvefold.server.errors import Refusal, full
from twelvefold.server.service import Service
from twelvefold.serving import samples as shipped

PAGE = Path(__file__).parent / "page"
REFERENCE = Path(__file__).parent / "reference"
LIMITS = ("max_bytes", "max_pixels", "max_pictures", "max_text", "max_boxes", "max_phrases", "time_limit", "rate")

ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": schemas.Error} for status in (401, 404, 421, 429)}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Use = Annotated[Service, Depends(_service)]
about = APIRouter(prefix="/v1", tags=["about"], responses=ERRORS)
health = APIRouter(tags=["health"])
pages = APIRouter(include_in_schema=False)


@about.get("/model")
async def model(service: Use) -> schemas.ModelOut:
    """Which model this is, what it was trained on, and how well it does."""
    said = msgspec.to_builtins(service.predictor.about)
    limits = {name: getattr(service.settings, name) for name in LIMITS}
    return schemas.ModelOut(version=version("twelvefold"), limits=limits, **said)


@about.get("/samples")
async def load_samples() -> list[schemas.SampleOut]:
    """Pictures to try, with things to ask about each."""
    return [
        schemas.SampleOut(
            name=one.name,
            width=one.width,
            height=one.height,
            url=f"v1/samples/{one.name}",
            suggestions=[schemas.SuggestionOut(**msgspec.structs.asdict(suggestion)) for suggestion in one.suggestions],
        )
        for one in shipped.load_samples()
    ]


@about.get("/samples/{name}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
async def find_sample(service: Use, name: str) -> Response:
    """A sample, as JPEG."""
    if name not in service.jpegs:
        raise Refusal(404, f"no sample {name[:100]!r}; /v1/samples lists them")
    return Response(service.jpegs[name], media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})


@health.get("/health")
async def alive() -> schemas.State:
    """Whether the server runs at all."""
    return schemas.State(status="ok")


@health.get("/ready", responses={503: {"model": schemas.Error}})
async def ready(service: Use) -> schemas.State:
    """Whether it takes questions now: its model is loaded and it isn't shutting down."""
    if not service.ready:
        raise full("the model takes no questions: the server is shutting down")
    return schemas.State(status="ready")


@health.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: Use) -> Response:
    """Figures for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@pages.api_route("/", methods=["GET", "HEAD"])
async def index() -> FileResponse:
    return FileResponse(PAGE / "index.html")


@pages.api_route("/docs", methods=["GET", "HEAD"])
async def reference() -> FileResponse:
    return FileResponse(REFERENCE / "index.html")


class Files(StaticFiles):
    """A folder of the package, which browsers may keep but ask about: an upgraded server means an upgraded page."""

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        response = super().file_response(*arguments, **more)
        response.headers["Cache-Control"] = "no-cache"
        return response
