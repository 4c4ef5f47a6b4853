"""The endpoints without a task: the web page, the API reference, samples, the model's info, health and metrics."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from twelvefold.server import schemas
from twelvefold.server.errors import ApiError, overloaded_error
from twelvefold.server.forms import check_query
from twelvefold.server.service import Service
from twelvefold.server.task_forms import make_forms
from twelvefold.serving.samples import load_samples

PAGE = Path(__file__).parent / "page"
REFERENCE = Path(__file__).parent / "reference"
LIMITS = (
    "max_bytes",
    "max_pixels",
    "max_images",
    "max_search_images",
    "max_text",
    "max_boxes",
    "max_phrases",
    "time_limit",
    "rate_limit",
)
"""The settings in ``limits`` of ``/v1/model``."""
NAMES_OF_LIMITS = {"max_images": "max_pictures", "rate_limit": "rate"}
"""Names there that differ from the setting's."""

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Error} for status in (401, 404, 421, 422, 429)
}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(_service)]
about = APIRouter(prefix="/v1", tags=["about"], responses=ERROR_RESPONSES, dependencies=[Depends(check_query)])
health = APIRouter(tags=["health"], responses={422: {"model": schemas.Error}}, dependencies=[Depends(check_query)])
pages = APIRouter(include_in_schema=False)


@about.get("/model")
async def model(service: CurrentService) -> schemas.ModelOut:
    """Return the model's name, tasks, training data, detector and test scores, and the server's limits."""
    info = msgspec.to_builtins(service.predictor.about)
    info["data"] = msgspec.structs.asdict(service.predictor.about.data)
    network = service.predictor.network
    forms = make_forms(network.tasks.values(), network.head_specs)
    source = service.settings.model
    source = Path(source).name if Path(source).is_absolute() else source  # the server's folders are its own
    limits = {NAMES_OF_LIMITS.get(name, name): getattr(service.settings, name) for name in LIMITS}
    return schemas.ModelOut(version=version("twelvefold"), limits=limits, forms=forms, source=source, **info)


@about.get("/samples")
async def samples() -> list[schemas.SampleOut]:
    """List sample images with questions about each."""
    listed = [{**msgspec.structs.asdict(each), "url": f"v1/samples/{each.name}"} for each in load_samples()]
    return [schemas.SampleOut.model_validate(each, from_attributes=True) for each in listed]


@about.get("/samples/{name}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
async def sample(service: CurrentService, name: str) -> Response:
    """Return a sample image as JPEG."""
    if name not in service.sample_files:
        raise ApiError(404, f"no sample {name[:100]!r}; /v1/samples lists them")
    return Response(service.sample_files[name], media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})


@health.get("/health")
async def alive() -> schemas.State:
    """Return 200 while the server runs."""
    return schemas.State(status="ok")


@health.get("/ready", responses={503: {"model": schemas.Error}})
async def ready(service: CurrentService) -> schemas.State:
    """Return 200 while the server accepts requests: its model is loaded and it is not shutting down."""
    if not service.ready:
        raise overloaded_error("the server is shutting down and accepts no requests")
    return schemas.State(status="ready")


@health.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: CurrentService) -> Response:
    """Return metrics in Prometheus's text format."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@pages.api_route("/", methods=["GET", "HEAD"])
async def index() -> FileResponse:
    return FileResponse(PAGE / "index.html")


@pages.api_route("/docs", methods=["GET", "HEAD"])
async def reference() -> FileResponse:
    return FileResponse(REFERENCE / "index.html")


class RevalidatedFiles(StaticFiles):
    """Static files that browsers may cache but must revalidate, so that an upgraded server serves its own page."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
