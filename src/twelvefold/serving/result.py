"""The result of a request: ranked answers together with the images and the text. Paper: Fig. 3."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from twelvefold.families import load_family
from twelvefold.images import InputImage
from twelvefold.schema import Box, Ranked, TwelvefoldError
from twelvefold.serving.attention_weights import Attention
from twelvefold.serving.box_inputs import CORNERS
from twelvefold.serving.draw import AttentionSelection, draw_prediction


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prediction:
    """The answers to one request. Iterating over it gives dicts in the form of Hugging Face's pipelines.

    ranked: most likely first; answers and classes by name, boxes in pixels, images of a search by their index in
    ``images`` ("0" is the first). candidates_px: the candidate boxes of the request. notes: sentences that qualify the
    answer: unknown words, an image unlike the training images, a text that was cut, no candidates. attention: if
    requested, one for each image of the task; for a search, that of the best image; for a choice of texts, one for each
    text. confidence_weight: 1, or less where probabilities were lowered because text or image are unlike the training
    data (:mod:`twelvefold.serving.inference`).
    """

    task: str
    family: str
    ranked: tuple[Ranked, ...]
    images: tuple[InputImage, ...]
    text: str
    candidates_px: tuple[Box, ...] = ()
    notes: tuple[str, ...] = ()
    attention: tuple[Attention, ...] = ()
    confidence_weight: float = 1.0

    @property
    def best(self) -> Ranked:
        """Return the most likely answer.

        Raises:
            TwelvefoldError: there were no candidates, so there is no answer.
        """
        if not self.ranked:
            raise TwelvefoldError(f"task {self.task!r} gave no answer: {' '.join(self.notes)}")
        return self.ranked[0]

    @property
    def found(self) -> tuple[InputImage, ...]:
        """Return the images of a search, best first; empty for other tasks."""
        if not load_family(self.family).searches_images:
            return ()
        return tuple(self.images[int(rank.name)] for rank in self.ranked)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the answers as Hugging Face's pipelines do: ``score`` (the probability), ``label`` and ``box``.

        ``label``: what the answer is called, as in :class:`twelvefold.schema.Ranked`. ``box``: ``xmin``, ``ymin``,
        ``xmax`` and ``ymax`` in pixels; only for boxes.
        """
        for rank in self.ranked:
            box = {} if rank.box_px is None else {"box": dict(zip(CORNERS, rank.box_px, strict=True))}
            yield {"score": rank.probability, "label": rank.label, **box}

    def __len__(self) -> int:
        return len(self.ranked)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an answer as iteration does; 0 is the most likely."""
        return list(self)[index]

    @property
    def independent(self) -> bool:
        """Return whether each answer has a probability of its own; else they sum to one over all candidates."""
        return load_family(self.family).independent

    @property
    def pictures(self) -> tuple[InputImage, ...]:
        """Return ``images``, by its earlier name, which ``to_dict`` keeps."""
        return self.images

    def draw(self, attention: AttentionSelection | None = None) -> Image.Image:
        """Draw the images with boxes and probabilities on them and the answers below, as an RGB image.

        ``attention``: light up the regions by their attention weight: True, a block, (block, head) or
        (block, head, word).

        Raises:
            TwelvefoldError: the request was made without ``explain=True``, or there is no such block, head or word.
        """
        return draw_prediction(self, attention)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.draw().save(file, "PNG")
        return file.getvalue()

    def _repr_html_(self) -> str:
        """Return the drawing for a notebook, no wider than the page. Notebooks prefer this over the PNG."""
        data = base64.b64encode(self._repr_png_()).decode()
        return f'<img style="max-width:100%" alt="{html.escape(repr(self))}" src="data:image/png;base64,{data}">'

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, as REST and the command line print them."""
        return {
            "task": self.task,
            "family": self.family,
            "text": self.text,
            "ranked": [
                {
                    "probability": rank.probability,
                    "name": rank.name,
                    "box_px": rank.box_px and list(rank.box_px),
                    "label": rank.label,
                }
                for rank in self.ranked
            ],
            "pictures": [
                {"picture": image.digest, "name": image.name, "width": image.width, "height": image.height}
                for image in self.images
            ],
            "candidates_px": [list(box) for box in self.candidates_px],
            "notes": list(self.notes),
            "confidence_weight": self.confidence_weight,
            "attention": [attention.to_dict() for attention in self.attention] or None,
        }

    def __repr__(self) -> str:
        answers = ", ".join(f"{rank.name or _box_text(rank.box_px)} {rank.probability:.2f}" for rank in self.ranked)
        return f"{self.text!r} ({self.task}): {answers or 'no answer'}"


def _box_text(box: Box | None) -> str:
    return "" if box is None else "[" + " ".join(f"{side:.0f}" for side in box) + "]"
