"""Retrieval as 4-way multiple choice: the true pair, a random caption, a random image, a hard caption.

Paper: section 3.2. How the wrong pairs are drawn follows the original project's code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twelvefold.data.collate import TokenIds
from twelvefold.schema import Example, Pair, PositivePair, TwelvefoldError
from twelvefold.store.example_table import ExampleTable


class MultipleChoiceBuilder:
    """Builds 4-way choices from a table of captions.

    Differs: if a drawn caption has the same text as the true one, it is drawn once more, because a right answer would
    be labeled wrong.
    """

    NUM_UNIFORMS = 9
    """Uniform random numbers for one choice: 4 for each wrong caption (two tries, each an image and a caption), 1 for
    the wrong image."""

    def __init__(self, table: ExampleTable, negatives: NDArray[np.int32] | None = None) -> None:
        """``negatives`` (images, n): for each image of the table the indices of its nearest images, as
        :func:`twelvefold.data.negatives.nearest` returns them; None: draw hard captions from all other images.

        Raises:
            TwelvefoldError: the table has fewer than two images, or the negatives are for another number of images.
        """
        images, self._image_of = table.first_images()
        self._table = table
        self._num_images = len(images)
        if self._num_images < 2:
            raise TwelvefoldError(f"{table.path}: multiple choice needs at least two images, got {self._num_images}")
        if negatives is not None and len(negatives) != self._num_images:
            raise TwelvefoldError(
                f"{table.path} has {self._num_images} images, but its hard negatives have {len(negatives)}; "
                "prepare again"
            )
        self._nearest = negatives
        # The captions of image i are _captions[_starts[i] : _starts[i + 1]], as indices into the table.
        self._captions = np.argsort(self._image_of, kind="stable")
        self._starts = np.searchsorted(self._image_of[self._captions], np.arange(self._num_images + 1))

    def build(self, index: int, uniforms: NDArray[np.float64]) -> tuple[Example, list[TokenIds]]:
        """Return the 4-way choice for the caption at ``index``, and the token ids of its four texts.

        Pair 0 is the true one. ``uniforms`` (NUM_UNIFORMS,): uniform random numbers in [0, 1).
        """
        table, image = self._table, int(self._image_of[index])
        example = table[index]
        true = example.pairs[0]
        random_caption = self._draw_caption(index, image, uniforms[0:4], hard=False)
        hard_caption = self._draw_caption(index, image, uniforms[4:8], hard=True)
        other_image = int(self._captions[self._starts[self._draw_other_image(image, uniforms[8])]])
        pairs = (
            true,
            Pair(true.image, table[random_caption].pairs[0].text),
            Pair(table[other_image].pairs[0].image, true.text),
            Pair(true.image, table[hard_caption].pairs[0].text),
        )
        token_ids: list[TokenIds] = [table.token_ids(text) for text in (index, random_caption, index, hard_caption)]
        return Example(example.id, pairs, PositivePair(0), example.question_type), token_ids

    def draw_captions_of_other_images(
        self, indices: NDArray[np.int64], uniforms: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Draw a caption of another image for each caption, uniformly: (n,) indices into the table.

        ``uniforms`` (n,): uniform random numbers in [0, 1). Pretraining uses them as mismatched captions.
        """
        image = self._image_of[indices]
        end, start = self._starts[image + 1], self._starts[image]
        num_others = len(self._captions) - (end - start)
        # Start after the image's own captions, and wrap around at the end of the list.
        return self._captions[(end + (uniforms * num_others).astype(np.int64)) % len(self._captions)]

    def _draw_caption(self, index: int, image: int, uniforms: NDArray[np.float64], *, hard: bool) -> int:
        """Draw the index of a caption of another image; if ``hard``, of one of the nearest images."""
        true, drawn = self._table.token_ids(index), index
        for image_uniform, caption_uniform in uniforms.reshape(-1, 2):
            other = (
                self._draw_nearest_image(image, image_uniform) if hard else self._draw_other_image(image, image_uniform)
            )
            start, end = self._starts[other], self._starts[other + 1]
            drawn = int(self._captions[start + int(caption_uniform * (end - start))])
            if not np.array_equal(self._table.token_ids(drawn), true):
                break
        return drawn

    def _draw_other_image(self, image: int, uniform: float) -> int:
        other = int(uniform * (self._num_images - 1))
        return other + (other >= image)

    def _draw_nearest_image(self, image: int, uniform: float) -> int:
        if self._nearest is None or not self._nearest.shape[1]:
            return self._draw_other_image(image, uniform)
        return int(self._nearest[image, int(uniform * self._nearest.shape[1])])
