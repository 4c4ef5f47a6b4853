"""What stands behind the endpoints: pictures in, the model asked in batches, pictures kept for the next question."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from twelvefold.images import image_size, open_image
from twelvefold.schema import Box, Regions
from twelvefold.server.batching import Batcher, Job
from twelvefold.server.errors import Refusal, full
from twelvefold.server.limits import Room
from twelvefold.server.memory import KeptPictures
from twelvefold.server.metrics import Metrics
from twelvefold.server.settings import Settings
from twelvefold.serving.images import InputImage, image_from_rgb, load_image
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import load_samples
from twelvefold.store.atomic_files import digest_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What strangers' pictures are opened as: what cameras and browsers make. Pillow's other decoders are seldom used and
so seldom tested, and EPS starts another program."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One client's question: its pictures, looked at first, and what is asked of them (nothing: only look)."""

    pictures: tuple[InputImage, ...]
    requests: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """regions: of each picture. predictions: of each request. Seconds of waiting, and of the batch's two stages."""

    regions: Sequence[Regions]
    predictions: Sequence[Prediction]
    queue: float
    detect: float
    answer: float


class Service:
    """One model and everything that its endpoints share."""

    def __init__(
        self,
        predictor: Predictor,
        settings: Settings,
        *,
        metrics: Metrics,
        room: Room,
    ) -> None:
        self.predictor, self.settings, self.metrics, self.room = predictor, settings, metrics, room
        self.jpegs = {one.name: one.path.read_bytes() for one in load_samples()}
        self.kept = KeptPictures(settings.keep_bytes, metrics)
        self._places = 0
        self._decoders = ThreadPoolExecutor(settings.decoders, "decode")
        self._batcher: Batcher[Asked, Answered] = Batcher(
            partial(work, predictor),
            metrics,
            room=settings.queue + settings.batch,
            most=settings.batch,
            linger=settings.batch_wait_ms / 1000,
            under_way=lambda: self._places,
        )

    @property
    def ready(self) -> bool:
        """Whether the model takes questions."""
        return self._batcher.alive

    def warm(self) -> None:
        """Answer a question once, so that the first client needn't wait for what is made on first use."""
        tasks = self.predictor.network.tasks
        asked = (
            (one, first) for one in load_samples() for first in one.suggestions if first.task in tasks and first.text
        )
        for sample, suggestion in itertools.islice(asked, 1):
            shown = load_image(self.jpegs[sample.name])
            self.predictor.answer([Request(suggestion.task, (shown,), suggestion.text)])

    def close(self) -> None:
        """Answer what waits, then let the threads go."""
        self._batcher.close()
        self._decoders.shutdown()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place among those that the model will answer, before any work goes into a request.

        Raises:
            Refusal: 503, as many as may wait do.
        """
        if self._places >= self.settings.queue + self.settings.batch:  # those that wait, and those being answered
            raise full("too many requests wait for the model")
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    @contextmanager
    def room_for(self, data: bytes) -> Iterator[None]:
        """Hold the memory that a picture will take once it is decoded; its header says how much.

        Raises:
            Refusal: 503, there is no room now.
            ImageError: it is no picture, or has too many pixels.
        """
        width, height = image_size(data, max_pixels=self.settings.max_pixels, formats=FORMATS)
        with self.room.take(3 * width * height):
            yield

    async def decode(self, data: bytes) -> InputImage:
        """The picture of a file's bytes, kept for later. Decoding has threads of its own, so that others needn't wait.

        Raises:
            ImageError: it is damaged.
        """
        file = digest_bytes(data)
        there = self.kept.of_file(file)
        if there is not None:
            self.metrics.pictures.labels("kept").inc()
            return there
        begun = time.monotonic()
        open_one = partial(_decode, data, self.settings.max_pixels)
        new = await asyncio.get_running_loop().run_in_executor(self._decoders, open_one)
        self.metrics.stages.labels("decode").observe(time.monotonic() - begun)
        self.metrics.pictures.labels("new").inc()
        return self.kept.keep(new, file)

    async def again(self, name: str) -> InputImage:
        """A picture that was sent before, by its digest, or a sample, by its name.

        Raises:
            Refusal: 404, it was never here, or is no longer.
        """
        if name in self.jpegs:
            return await self.decode(self.jpegs[name])
        found = self.kept.find(name)
        self.metrics.pictures.labels("kept").inc()
        return found

    async def ask(self, pictures: Sequence[InputImage], requests: Sequence[Request] = ()) -> Answered:
        """The model's answer, as soon as there is a place for it in a batch.

        Raises:
            Refusal: 503 or 504, there was no time.
            TwelvefoldError: the model can't answer that.
        """
        answered = await self._batcher.answer(Asked(tuple(pictures), tuple(requests)), self.settings.time_limit)
        for stage in ("queue", "detect", "answer"):
            self.metrics.stages.labels(stage).observe(getattr(answered, stage))
        return answered

    def text(self, name: str, text: str) -> str:
        """A text of a form, unless it is too long (422)."""
        most = self.settings.max_text
        if len(text) > most:
            raise Refusal(422, f"{name}: at most {most:,} characters, got {len(text):,}")
        return text

    def boxes(self, text: str) -> tuple[Box, ...]:
        """Boxes of a form: a JSON list of [x1, y1, x2, y2]; none where the field is empty (422 where it is no such)."""
        values: list[Any] = json_list("boxes", text) if text else []
        if len(values) > self.settings.max_boxes:
            raise Refusal(422, f"boxes: at most {self.settings.max_boxes}, got {len(values)}")
        for value in values:
            if not isinstance(value, list) or len(value) != 4 or not all(type(side) in (int, float) for side in value):
                raise Refusal(422, f"boxes: each is [x1, y1, x2, y2] in pixels, got {json.dumps(value)[:100]}")
        return tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in values)


def json_list(name: str, text: str) -> list[Any]:
    """The list of a form's field (422 where it is none)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, f"{name}: expected a JSON list, got {text[:60]!r} ({error})") from error
    if not isinstance(value, list):
        raise Refusal(422, f"{name}: expected a JSON list, got {text[:60]!r}")
    return value


def work(predictor: Predictor, jobs: Sequence[Job[Asked, Answered]]) -> Sequence[Answered | Exception]:
    """Answer a batch; where that fails, each of its questions alone, so that only the faulty one hears of it."""
    begun = time.monotonic()
    pictures = {picture.digest: picture for job in jobs for picture in job.asked.pictures}
    requests = [request for job in jobs for request in job.asked.requests]
    try:
        seen = dict(zip(pictures, predictor.detect(list(pictures.values())), strict=True))
        looked = time.monotonic()
        predictions = iter(predictor.answer(requests) if requests else [])
        answered = time.monotonic()
    except Exception as error:  # noqa: BLE001 - it is given to the client it belongs to
        return [error] if len(jobs) == 1 else [one for job in jobs for one in work(predictor, [job])]
    return [
        Answered(
            regions=[seen[picture.digest] for picture in job.asked.pictures],
            predictions=[next(predictions) for _ in job.asked.requests],
            queue=begun - job.since,
            detect=looked - begun,
            answer=answered - looked,
        )
        for job in jobs
    ]


def _decode(data: bytes, max_pixels: int) -> InputImage:
    return image_from_rgb(open_image(data, max_pixels=max_pixels, formats=FORMATS))
