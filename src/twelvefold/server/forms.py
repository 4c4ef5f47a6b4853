"""Form fields that the endpoints share: images as files or digests, and the options of an answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, File, Form, Request, UploadFile
from pydantic.json_schema import SkipJsonSchema

from twelvefold.images import InputImage
from twelvefold.schema import did_you_mean
from twelvefold.server.errors import ApiError
from twelvefold.server.service import Service
from twelvefold.server.settings import Settings
from twelvefold.serving.box_inputs import BoxFormat
from twelvefold.serving.request import DEFAULT_TOP

MAX_TOP = 100
"""Answers of one request at most."""

ImageFile = Annotated[
    UploadFile | SkipJsonSchema[None],
    File(description="an image: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or (with pillow-heif) HEIC"),
]
Digest = Annotated[str, Form(description="the `picture` of an image that was sent before, or a sample's name")]
TaskField = Annotated[str, Form()]
TextField = Annotated[str, Form(min_length=1)]
BoxesField = Annotated[
    str, Form(description="JSON list of candidate boxes [x1, y1, x2, y2]; empty: the detected regions")
]

BoxFormatField = Annotated[
    BoxFormat,
    Form(description="of `boxes`: corners, or a corner with width and height; in pixels, or in 0..1 (`unit`)"),
]
NULLS = ("null", "undefined")
"""What JavaScript's ``FormData`` sends for a field without a value. A form has no null, so they are refused."""
FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")


async def check_form(request: Request) -> None:
    """Check that a request is a form with only the fields of its path, and each once unless it is a list.

    Raises:
        ApiError: 422, it is no form, or a field is unknown, repeated, null, or sent in the address.
    """
    content_type = request.headers.get("content-type", FORM_TYPES[0]).partition(";")[0].strip()
    if content_type.lower() not in FORM_TYPES:
        raise ApiError(422, f"send a form ({' or '.join(FORM_TYPES)}), got {content_type[:100]!r}")
    path, form = request.scope["route"].path, await request.form()
    body = request.app.openapi()["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    schema = request.app.openapi()["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    fields: dict[str, Any] = schema["properties"]
    for name in request.query_params:
        raise ApiError(422, f"{name[:100]!r} is in the address; send it as a field of the form")
    for name in form:
        if name not in fields:
            advice = did_you_mean(name, fields) or f"; its fields are {', '.join(fields)}"
            raise ApiError(422, f"{path} has no field {name[:100]!r}{advice}")
        if name.startswith("image") and any(isinstance(value, str) and value for value in form.getlist(name)):
            digest = name.replace("image", "picture")
            raise ApiError(
                422,
                f"{name}: expected a file, as curl -F {name}=@photo.jpg sends it, got a text; no path, URL or base64 "
                f"text is opened, and an image that was sent before goes into {digest}",
            )
        if any(isinstance(value, str) and value.strip() in NULLS for value in form.getlist(name)):
            raise ApiError(
                422, f"{name}: got the text {form.getlist(name)[0]!r:.20}; leave out a field without a value"
            )
        if fields[name].get("type") != "array" and len(form.getlist(name)) > 1:
            raise ApiError(422, f"{name}: sent {len(form.getlist(name))} times; send it once")


async def check_query(request: Request) -> None:
    """Check that the address of a GET request has only the parameters of its path.

    Raises:
        ApiError: 422, it has another one.
    """
    route = request.scope["route"]
    known = [parameter.alias for parameter in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            advice = did_you_mean(name, known) or f"; it has {', '.join(known) or 'no parameters'}"
            raise ApiError(422, f"{route.path} has no parameter {name[:100]!r}{advice}")


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request: its images, the seconds it took to open them, and the fields of its line in the log."""

    service: Service
    request_id: str
    log_fields: dict[str, Any]
    images: tuple[InputImage, ...]
    seconds: float


def _options(
    top: Annotated[int, Form(ge=1, le=MAX_TOP, description="number of answers, most likely first")] = DEFAULT_TOP,
    explain: Annotated[bool, Form(description="also return attention weights between words and regions")] = False,
) -> dict[str, Any]:
    """Return the arguments of :class:`twelvefold.serving.request.Request` that all tasks have."""
    return {"top": top, "explain": explain}


async def _single_image(request: Request, image: ImageFile = None, picture: Digest = "") -> AsyncIterator[Call]:
    async with _open_images(request, [("", image, picture)]) as call:
        yield call


async def _image_pair(
    request: Request,
    image_a: ImageFile = None,
    picture_a: Digest = "",
    image_b: ImageFile = None,
    picture_b: Digest = "",
) -> AsyncIterator[Call]:
    async with _open_images(request, [("_a", image_a, picture_a), ("_b", image_b, picture_b)]) as call:
        yield call


Files = Annotated[
    list[UploadFile] | SkipJsonSchema[None], File(description="images, in order; they come first in the result")
]
Digests = Annotated[list[str] | SkipJsonSchema[None], Form(description="images that were sent before, by `picture`")]


async def _image_list(request: Request, images: Files = None, pictures: Digests = None) -> AsyncIterator[Call]:
    async with _open_images(request, _list_fields(request, images, pictures)) as call:
        yield call


async def _search_images(request: Request, images: Files = None, pictures: Digests = None) -> AsyncIterator[Call]:
    async with _open_images(request, _list_fields(request, images, pictures), needs_pixels=False) as call:
        yield call


def _list_fields(
    request: Request, images: list[UploadFile] | None, pictures: list[str] | None
) -> list[tuple[str, UploadFile | None, str]]:
    """Return the fields of a list of images, for :func:`_open_images`.

    Raises:
        ApiError: 422 without images; 413, there are too many.
    """
    fields: list[tuple[str, UploadFile | None, str]] = [("s", file, "") for file in images or []]
    fields += [("s", None, digest) for digest in pictures or []]
    settings: Settings = request.app.state.service.settings
    if not fields:
        raise ApiError(422, "images: send the images to search as files `images` or digests `pictures`")
    num_files, limit = len(images or []), settings.max_images
    if num_files > limit:
        more = f"; send the images before, one by one, and refer to up to {settings.max_search_images} by `picture`"
        raise ApiError(413, f"at most {limit} images as files in one request, got {num_files}{more}")
    if len(fields) > settings.max_search_images:
        raise ApiError(413, f"at most {settings.max_search_images} images in one request, got {len(fields)}")
    return fields


@asynccontextmanager
async def _open_images(
    request: Request, fields: Sequence[tuple[str, UploadFile | None, str]], *, needs_pixels: bool = True
) -> AsyncIterator[Call]:
    """Open the images of a request, and reserve their memory until it is answered.

    ``fields``: for each image, the end of its fields' names (such as ``_a`` in ``image_a`` and ``picture_a``), and
    their values: a file or a digest.
    """
    service: Service = request.app.state.service
    start, opened = time.monotonic(), []
    with service.active.reserve(), ExitStack() as reserved:
        for suffix, file, digest in fields:
            file_field, digest_field = f"image{suffix}", f"picture{suffix}"
            if file is not None and digest:
                raise ApiError(422, f"send {file_field} or {digest_field}, not both")
            if file is not None:
                data = await file.read()
                reserved.enter_context(service.reserve_memory(data))
                opened.append(await service.decode(data))
            elif digest:
                opened.append(await service.find_image(digest, needs_pixels=needs_pixels))
            else:
                message = f"{file_field}: send an image as a file, or {digest_field} of one sent before"
                raise ApiError(422, message)
        seconds = time.monotonic() - start
        log_fields = request.scope["state"].setdefault("log_fields", {})
        yield Call(service, request.state.request_id, log_fields, tuple(opened), seconds)


SingleImage = Annotated[Call, Depends(_single_image)]
ImagePair = Annotated[Call, Depends(_image_pair)]
ImageList = Annotated[Call, Depends(_image_list)]
SearchImages = Annotated[Call, Depends(_search_images)]
Options = Annotated[dict[str, Any], Depends(_options)]
