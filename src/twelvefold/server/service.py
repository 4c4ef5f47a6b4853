"""The state behind the endpoints: the model's batcher, the image cache, decode threads and memory limits."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from twelvefold.image_formats import HEIC, unsupported
from twelvefold.images import InputImage, image_from_rgb, image_size, load_image, open_image
from twelvefold.schema import Box, Regions
from twelvefold.server.batching import Batcher, Job
from twelvefold.server.errors import ApiError
from twelvefold.server.image_cache import ImageCache
from twelvefold.server.limits import Budget
from twelvefold.server.metrics import Metrics
from twelvefold.server.settings import Settings
from twelvefold.serving.box_inputs import BoxFormat, parse_boxes, read_boxes
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import load_samples
from twelvefold.store.atomic_files import digest_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Formats accepted from clients: those of cameras and browsers. Pillow's other decoders are rarely used and so rarely
tested, and EPS starts another program. :func:`accepted_formats` adds HEIC."""


def accepted_formats() -> tuple[str, ...]:
    """Return the formats accepted from clients, with HEIC if the optional package pillow-heif is installed."""
    return FORMATS if unsupported(HEIC) else (*FORMATS, HEIC.pillow)


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """The images of one HTTP request, and the model requests about them; none means detection only."""

    images: tuple[InputImage, ...]
    requests: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientAnswer:
    """The regions of each image, the prediction of each request, and the seconds of each stage of the batch."""

    regions: Sequence[Regions]
    predictions: Sequence[Prediction]
    seconds: dict[str, float]


class Service:
    """One model and the state that its endpoints share. ``active``: the requests that the model will answer."""

    def __init__(self, predictor: Predictor, settings: Settings, *, metrics: Metrics, budget: Budget) -> None:
        self.predictor, self.settings, self.metrics, self.budget = predictor, settings, metrics, budget
        self.sample_files = {sample.name: sample.path.read_bytes() for sample in load_samples()}
        self.images = ImageCache(settings.image_cache_bytes, metrics)
        max_active = settings.max_queue + settings.max_batch_size
        self.active = Budget(max_active, "too many requests are waiting for the model")
        self._decoders = ThreadPoolExecutor(settings.num_decode_threads, "decode")
        self._batcher: Batcher[ClientRequest, ClientAnswer] = Batcher(
            partial(answer_batch, predictor),
            metrics,
            max_queue=max_active,
            max_batch_size=settings.max_batch_size,
            max_wait=settings.max_wait_ms / 1000,
            num_active=lambda: self.active.used,
        )

    @property
    def ready(self) -> bool:
        """Return whether the model accepts requests."""
        return self._batcher.alive

    def warm_up(self) -> None:
        """Answer one question, so that the first client need not wait for one-time setup."""
        tasks = self.predictor.network.tasks
        questions = ((sample, s) for sample in load_samples() for s in sample.suggestions if s.task in tasks and s.text)
        for sample, suggestion in itertools.islice(questions, 1):
            image = load_image(self.sample_files[sample.name])
            self.predictor.answer([Request(suggestion.task, (image,), suggestion.text)])

    def close(self) -> None:
        """Answer the waiting requests and end the threads."""
        self._batcher.close()
        self._decoders.shutdown()

    def reserve_memory(self, data: bytes) -> AbstractContextManager[None]:
        """Reserve the memory of a decoded image, computed from its header.

        Raises:
            ApiError: 503, there is not enough memory now.
            ImageError: it is no image, or has too many pixels.
        """
        width, height = image_size(data, max_pixels=self.settings.max_pixels, formats=accepted_formats())
        return self.budget.reserve(3 * width * height)

    async def decode(self, data: bytes) -> InputImage:
        """Decode a file in a thread of its own, or return it from the cache.

        Raises:
            ImageError: it is damaged.
        """
        file_digest = digest_bytes(data)
        cached = self.images.find_by_file(file_digest)
        if cached is not None:
            return cached
        start = time.monotonic()
        decode = partial(_decode, data, self.settings.max_pixels)
        image = await asyncio.get_running_loop().run_in_executor(self._decoders, decode)
        self.metrics.stages.labels("decode").observe(time.monotonic() - start)
        return self.images.add(image, file_digest)

    async def find_image(self, name: str, *, needs_pixels: bool = True) -> InputImage:
        """Return an image that was sent before, by its digest, or a sample by its name.

        Without ``needs_pixels`` an image whose pixels were evicted is found while its regions are cached.

        Raises:
            ApiError: 404, it was never sent or is no longer cached.
        """
        if name in self.sample_files:
            return await self.decode(self.sample_files[name])
        return self.images.find(name, has_regions=None if needs_pixels else self.predictor.has_regions)

    async def answer(self, images: Sequence[InputImage], requests: Sequence[Request] = ()) -> ClientAnswer:
        """Answer requests about images in the model's next batch.

        Raises:
            ApiError: 503 or 504, there was no time.
            TwelvefoldError: the requests are invalid.
        """
        answer = await self._batcher.answer(ClientRequest(tuple(images), tuple(requests)), self.settings.time_limit)
        for stage, seconds in answer.seconds.items():
            self.metrics.stages.labels(stage).observe(seconds)
        return answer

    def check_text(self, field: str, text: str) -> None:
        """Raises: ApiError 422 if a form's text is too long."""
        limit = self.settings.max_text
        if len(text) > limit:
            raise ApiError(422, f"{field}: at most {limit:,} characters, got {len(text):,}")

    def parse_boxes(self, text: str, image: InputImage, box_format: BoxFormat) -> tuple[Box, ...]:
        """Return the boxes of a form's JSON list in pixels of the image, none if the text is empty.

        Raises:
            ApiError: 422, there are too many.
            TwelvefoldError: it is no list of boxes, or a box is invalid.
        """
        if not text.strip():
            return ()
        boxes = parse_boxes(text)
        if len(boxes) > self.settings.max_boxes:
            raise ApiError(422, f"boxes: at most {self.settings.max_boxes}, got {len(boxes)}")
        return read_boxes(boxes, image, box_format)


def answer_batch(
    predictor: Predictor, jobs: Sequence[Job[ClientRequest, ClientAnswer]]
) -> Sequence[ClientAnswer | Exception]:
    """Answer a batch. If that fails, answer each job alone, so that an invalid request fails only itself."""
    start = time.monotonic()
    images = {image.digest: image for job in jobs for image in job.request.images}
    requests = [request for job in jobs for request in job.request.requests]
    try:
        for digest, image in images.items():
            if not image.rgb.size and not predictor.has_regions(digest):  # evicted since it was found
                raise ApiError(404, f"the image {digest!r} is no longer cached: send it again")
        regions = dict(zip(images, predictor.detect(list(images.values())), strict=True))
        detected = time.monotonic()
        predictions = iter(predictor.answer(requests) if requests else [])
        answered = time.monotonic()
    except Exception as error:  # noqa: BLE001 - it becomes the answer to the request that caused it
        return [error] if len(jobs) == 1 else [answer for job in jobs for answer in answer_batch(predictor, [job])]
    return [
        ClientAnswer(
            regions=[regions[image.digest] for image in job.request.images],
            predictions=[next(predictions) for _ in job.request.requests],
            seconds={"queue": start - job.queued_at, "detect": detected - start, "answer": answered - detected},
        )
        for job in jobs
    ]


def _decode(data: bytes, max_pixels: int) -> InputImage:
    return image_from_rgb(open_image(data, max_pixels=max_pixels, formats=accepted_formats()))
