"""What the model says, with the picture it says it of: to read, to draw, to keep as JSON. Paper: Fig. 3."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from twelvefold.schema import Box, FamilyName, Ranked, TwelvefoldError
from twelvefold.serving.attention_weights import Attention
from twelvefold.serving.draw import Look, draw
from twelvefold.serving.images import Picture


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prediction:
    """``ranked``: answers or classes by name, boxes in pixels, or pictures by their place in ``pictures`` ("0" is the
    first), the likeliest first. ``candidates_px``: the boxes that were pointed among. ``notes``: what one should know
    of this answer, in sentences: words the model never saw, a text that was cut, nothing to point at. ``attention``:
    where asked, one for each picture of the task; of a search, that of the best picture."""

    task: str
    family: FamilyName
    ranked: tuple[Ranked, ...]
    pictures: tuple[Picture, ...]
    text: str
    candidates_px: tuple[Box, ...] = ()
    notes: tuple[str, ...] = ()
    attention: tuple[Attention, ...] = ()

    @property
    def best(self) -> Ranked:
        """The likeliest.

        Raises:
            TwelvefoldError: there was nothing to point at.
        """
        if not self.ranked:
            raise TwelvefoldError(f"task {self.task!r} gave no answer: {' '.join(self.notes)}")
        return self.ranked[0]

    @property
    def found(self) -> tuple[Picture, ...]:
        """Of a search: the pictures, best first."""
        return tuple(self.pictures[int(one.name)] for one in self.ranked) if self.family == "retrieval" else ()

    def draw(self, attention: Look | None = None) -> Image.Image:
        """The pictures with boxes and chances over them and the answer below, RGB.

        ``attention``: where it looked, as light over the picture: True, a block, (block, head) or (block, head, word).

        Raises:
            TwelvefoldError: attention was not asked for with ``explain=True``, or there is no such block, head, word.
        """
        return draw(self, attention)

    def _repr_png_(self) -> bytes:
        """What notebooks show."""
        written = io.BytesIO()
        self.draw().save(written, "PNG")
        return written.getvalue()

    def _repr_html_(self) -> str:
        """What notebooks show first: the drawing, no wider than the page."""
        data = base64.b64encode(self._repr_png_()).decode()
        return f'<img style="max-width:100%" alt="{html.escape(repr(self))}" src="data:image/png;base64,{data}">'

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, texts and numbers, as REST and the command line give them."""
        return {
            "task": self.task,
            "family": self.family,
            "text": self.text,
            "ranked": [
                {"probability": one.probability, "name": one.name, "box_px": one.box_px and list(one.box_px)}
                for one in self.ranked
            ],
            "pictures": [
                {"picture": one.digest, "name": one.name, "width": one.width, "height": one.height}
                for one in self.pictures
            ],
            "candidates_px": [list(box) for box in self.candidates_px],
            "notes": list(self.notes),
            "attention": [one.to_dict() for one in self.attention] or None,
        }

    def __repr__(self) -> str:
        said = ", ".join(f"{one.name or _rounded(one.box_px)} {one.probability:.2f}" for one in self.ranked)
        return f"{self.text!r} ({self.task}): {said or 'no answer'}"


def _rounded(box: Box | None) -> str:
    return "" if box is None else "[" + " ".join(f"{side:.0f}" for side in box) + "]"
