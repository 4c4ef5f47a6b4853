"""Retrieval as a four-way choice: the true pair, a random caption, a random picture, a hard caption.

Paper: section 3.2; what each wrong pair is, as the original project's code has it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twelvefold.data.collate import TokenIds
from twelvefold.schema import Example, Pair, PositivePair, TwelvefoldError
from twelvefold.store.example_table import ExampleTable


class FourWay:
    """Makes four-way choices from a table of captions.

    Differs: a caption that reads like the true one is passed over where another draw finds a different one; as
    it stands it would be a right answer called wrong.
    """

    DRAWS = 9
    """Random numbers in 0..1 for one choice: 4 for each wrong caption (two tries at picture and caption), 1 for
    the wrong picture."""

    def __init__(self, table: ExampleTable, negatives: NDArray[np.int32] | None = None) -> None:
        """``negatives``: the neighbours of every picture, nearest first; None: every other picture is one.

        Raises:
            TwelvefoldError: fewer than two pictures, or neighbours of other pictures.
        """
        images, self._image_of = table.images()
        self._table = table
        self._count = len(images)
        if self._count < 2:
            raise TwelvefoldError(f"{table.path}: a choice between pictures needs two or more, got {self._count}")
        if negatives is not None and len(negatives) != self._count:
            raise TwelvefoldError(
                f"{table.path} has {self._count} pictures, its hard negatives are of {len(negatives)}; prepare again"
            )
        self._near = negatives
        # Captions of picture i: _captions[_starts[i] : _starts[i + 1]], as places in the table.
        self._captions = np.argsort(self._image_of, kind="stable")
        self._starts = np.searchsorted(self._image_of[self._captions], np.arange(self._count + 1))

    def make(self, place: int, draws: NDArray[np.float64]) -> tuple[Example, list[TokenIds]]:
        """The choice made of the caption at ``place``, pair 0 being the true one, and the ids of its four texts."""
        table, own = self._table, int(self._image_of[place])
        example = table[place]
        true = example.pairs[0]
        wrong = self._caption(place, own, draws[0:4], hard=False)
        hard = self._caption(place, own, draws[4:8], hard=True)
        elsewhere = int(self._captions[self._starts[self._other(own, draws[8])]])
        pairs = (
            true,
            Pair(true.image, table[wrong].pairs[0].text),
            Pair(table[elsewhere].pairs[0].image, true.text),
            Pair(true.image, table[hard].pairs[0].text),
        )
        ids: list[TokenIds] = [table.token_ids(text) for text in (place, wrong, place, hard)]
        return Example(example.id, pairs, PositivePair(0), example.question_type), ids

    def swapped(self, places: NDArray[np.int64], draws: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) places of captions of other pictures than those of the captions at ``places``, each as likely as the
        other; ``draws`` (n,) in 0..1. Pretraining takes them for captions that don't belong."""
        own = self._image_of[places]
        after, before = self._starts[own + 1], self._starts[own]  # in the ring of captions, picture by picture
        others = len(self._captions) - (after - before)
        return self._captions[(after + (draws * others).astype(np.int64)) % len(self._captions)]

    def _caption(self, place: int, own: int, draws: NDArray[np.float64], *, hard: bool) -> int:
        """The place of a caption of another picture: of a neighbour where ``hard``, else of any."""
        true, found = self._table.token_ids(place), place
        for of_image, of_caption in draws.reshape(-1, 2):
            image = self._neighbour(own, of_image) if hard else self._other(own, of_image)
            first, last = self._starts[image], self._starts[image + 1]
            found = int(self._captions[first + int(of_caption * (last - first))])
            if not np.array_equal(self._table.token_ids(found), true):
                break
        return found

    def _other(self, own: int, draw: float) -> int:
        """Any picture but ``own``, each as likely as the other."""
        image = int(draw * (self._count - 1))
        return image + (image >= own)

    def _neighbour(self, own: int, draw: float) -> int:
        if self._near is None or not self._near.shape[1]:
            return self._other(own, draw)
        return int(self._near[own, int(draw * self._near.shape[1])])
