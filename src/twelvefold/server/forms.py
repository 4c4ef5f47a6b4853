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
from twelvefold.server.errors import ApiError
from twelvefold.server.service import Service

MAX_TOP = 100
"""Answers of one request at most."""

ImageFile = Annotated[
    UploadFile | SkipJsonSchema[None], File(description="an image: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF")
]
Digest = Annotated[str, Form(description="the `picture` of an image that was sent before, or a sample's name")]
TaskField = Annotated[str, Form()]
TextField = Annotated[str, Form(min_length=1)]
BoxesField = Annotated[
    str, Form(description="JSON list of candidate boxes [x1, y1, x2, y2]; empty: the detected regions")
]


@dataclass(slots=True)
class Call:
    """An HTTP request's service and id, and the fields of its line in the log."""

    service: Service
    request_id: str
    log_fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReceivedImages:
    """The images of a request, and the seconds it took to open them."""

    images: tuple[InputImage, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """top: number of answers. explain: whether to return attention weights."""

    top: int
    explain: bool


@dataclass(frozen=True, slots=True)
class ImageFields:
    """One image of a form: a file in one field, or a digest in another."""

    file_field: str
    file: UploadFile | None
    digest_field: str
    digest: str


def _call(request: Request) -> Call:
    log_fields = request.scope["state"].setdefault("log_fields", {})
    return Call(request.app.state.service, request.state.request_id, log_fields)


CurrentCall = Annotated[Call, Depends(_call)]


def _options(
    top: Annotated[int, Form(ge=1, le=MAX_TOP, description="number of answers, most likely first")] = 5,
    explain: Annotated[bool, Form(description="also return attention weights between words and regions")] = False,
) -> AnswerOptions:
    return AnswerOptions(top, explain)


async def _single_image(
    call: CurrentCall, image: ImageFile = None, picture: Digest = ""
) -> AsyncIterator[ReceivedImages]:
    async with _open_images(call, [ImageFields("image", image, "picture", picture)]) as received:
        yield received


async def _image_pair(
    call: CurrentCall,
    image_a: ImageFile = None,
    picture_a: Digest = "",
    image_b: ImageFile = None,
    picture_b: Digest = "",
) -> AsyncIterator[ReceivedImages]:
    left = ImageFields("image_a", image_a, "picture_a", picture_a)
    right = ImageFields("image_b", image_b, "picture_b", picture_b)
    async with _open_images(call, [left, right]) as received:
        yield received


async def _image_list(
    call: CurrentCall,
    images: Annotated[
        list[UploadFile] | SkipJsonSchema[None], File(description="images to search; they come first in the result")
    ] = None,
    pictures: Annotated[
        list[str] | SkipJsonSchema[None], Form(description="images to search that were sent before, by `picture`")
    ] = None,
) -> AsyncIterator[ReceivedImages]:
    fields = [ImageFields("images", file, "pictures", "") for file in images or []]
    fields += [ImageFields("images", None, "pictures", digest) for digest in pictures or []]
    limit = call.service.settings.max_images
    if not fields:
        raise ApiError(422, "images: send the images to search as files `images` or digests `pictures`")
    if len(fields) > limit:
        raise ApiError(413, f"at most {limit} images in one request, got {len(fields)}")
    async with _open_images(call, fields) as received:
        yield received


@asynccontextmanager
async def _open_images(call: Call, fields: Sequence[ImageFields]) -> AsyncIterator[ReceivedImages]:
    """Open the images of a request, and reserve their memory until it is answered."""
    service, start, opened = call.service, time.monotonic(), []
    with service.reserve_slot(), ExitStack() as reserved:
        for each in fields:
            if each.file is not None and each.digest:
                raise ApiError(422, f"send {each.file_field} or {each.digest_field}, not both")
            if each.file is not None:
                data = await each.file.read()
                reserved.enter_context(service.reserve_memory(data))
                opened.append(await service.decode(data))
            elif each.digest:
                opened.append(await service.find_image(each.digest))
            else:
                message = f"{each.file_field}: send an image as a file, or {each.digest_field} of one sent before"
                raise ApiError(422, message)
        yield ReceivedImages(tuple(opened), time.monotonic() - start)


SingleImage = Annotated[ReceivedImages, Depends(_single_image)]
ImagePair = Annotated[ReceivedImages, Depends(_image_pair)]
ImageList = Annotated[ReceivedImages, Depends(_image_list)]
Options = Annotated[AnswerOptions, Depends(_options)]
