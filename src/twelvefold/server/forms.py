"""How requests are read: pictures as files or by digest, and what goes with every question."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, File, Form, Request, UploadFile
from pydantic.json_schema import SkipJsonSchema

from twelvefold.server.errors import Refusal
from twelvefold.server.service import Service
from twelvefold.serving.images import InputImage

MOST_RANKED = 100
"""Most answers that one request gets: a page of them."""

ImageFile = Annotated[
    UploadFile | SkipJsonSchema[None], File(description="a picture: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF")
]
Digest = Annotated[str, Form(description="or the `picture` of one already sent, or a sample's name")]
Text = Annotated[str, Form(min_length=1)]
Boxes = Annotated[str, Form(description="JSON list of [x1, y1, x2, y2] to choose from; empty: what was detected")]


@dataclass(slots=True)
class Call:
    """One request: what it may use, its id, and what the log will say of it."""

    service: Service
    request_id: str
    said: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """The pictures of a request, and how long opening them took."""

    pictures: tuple[InputImage, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class How:
    """How much is wanted of an answer."""

    top: int
    explain: bool = field(default=False)


def _call(request: Request) -> Call:
    said = request.scope["state"].setdefault("said", {})
    return Call(request.app.state.service, request.state.request_id, said)


Use = Annotated[Call, Depends(_call)]


def _how(
    top: Annotated[int, Form(ge=1, le=MOST_RANKED, description="so many answers, the likeliest first")] = 5,
    explain: Annotated[bool, Form(description="also say which words looked at which regions")] = False,
) -> How:
    return How(top, explain)


async def _one(call: Use, image: ImageFile = None, picture: Digest = "") -> AsyncIterator[Given]:
    async with _opened(call, [("image", image, "picture", picture)]) as given:
        yield given


async def _two(
    call: Use,
    image_a: ImageFile = None,
    picture_a: Digest = "",
    image_b: ImageFile = None,
    picture_b: Digest = "",
) -> AsyncIterator[Given]:
    wanted = [("image_a", image_a, "picture_a", picture_a), ("image_b", image_b, "picture_b", picture_b)]
    async with _opened(call, wanted) as given:
        yield given


async def _many(
    call: Use,
    images: Annotated[
        list[UploadFile] | SkipJsonSchema[None], File(description="pictures to search, first those sent here")
    ] = None,
    pictures: Annotated[
        list[str] | SkipJsonSchema[None], Form(description="then those already sent, by their `picture`")
    ] = None,
) -> AsyncIterator[Given]:
    files: list[tuple[str, UploadFile | None, str, str]] = [("images", file, "pictures", "") for file in images or []]
    wanted = [*files, *(("images", None, "pictures", digest) for digest in pictures or [])]
    most = call.service.settings.max_pictures
    if not wanted:
        raise Refusal(422, "images: give the pictures to search, as files `images` or digests `pictures`")
    if len(wanted) > most:
        raise Refusal(413, f"at most {most} pictures in one request, got {len(wanted)}")
    async with _opened(call, wanted) as given:
        yield given


@asynccontextmanager
async def _opened(call: Call, wanted: Sequence[tuple[str, UploadFile | None, str, str]]) -> AsyncIterator[Given]:
    """The pictures of a request, with their memory held until it is answered."""
    service, begun, opened = call.service, time.monotonic(), []
    with service.place(), ExitStack() as held:
        for file_field, file, digest_field, digest in wanted:
            if file is not None and digest:
                raise Refusal(422, f"give {file_field} or {digest_field}, not both")
            if file is not None:
                data = await file.read()
                held.enter_context(service.room_for(data))
                opened.append(await service.decode(data))
            elif digest:
                opened.append(await service.again(digest))
            else:
                raise Refusal(422, f"{file_field}: give a picture as a file, or {digest_field} of one already sent")
        yield Given(tuple(opened), time.monotonic() - begun)


OnePicture = Annotated[Given, Depends(_one)]
TwoPictures = Annotated[Given, Depends(_two)]
ManyPictures = Annotated[Given, Depends(_many)]
Wanted = Annotated[How, Depends(_how)]
