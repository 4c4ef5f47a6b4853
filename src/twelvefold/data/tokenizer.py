"""Text as numbers: BERT's uncased WordPiece, from the vocabulary shipped beside this file.

Paper: section 3.1 (words are WordPiece tokens, between ``[CLS]`` and ``[SEP]``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from twelvefold.store.example_table import ExampleTable

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

VOCABULARY = Path(__file__).with_name("vocab.txt")
PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103
"""Ids of the special pieces: their lines in the vocabulary."""

WORDS_KEPT = 1 << 17
"""Words whose ids are kept, some 30 MB; beyond that all are looked up anew."""


class Tokenizer:
    """The one tokenizer of the project. ``version`` changes with the vocabulary, and so do tables made with it."""

    def __init__(self) -> None:
        self._pieces = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
        self._known: dict[str, list[int]] = {}
        self.vocab_size: int = self._pieces.get_vocab_size()
        self.version = "wordpiece-" + hashlib.sha256(VOCABULARY.read_bytes()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        """The ids of a text, uncut, without ``[CLS]`` and ``[SEP]``; none for a text of blanks."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`ids` of every text, several times as fast.

        No piece reaches over a blank, nor does anything that is done to letters before: so a text's ids are those of
        its words, and a word is looked at once. Texts repeat their words: 5 microseconds a text instead of 35.
        """
        known = self._known if len(self._known) < WORDS_KEPT else {}
        words = [text.split(" ") for text in texts]
        new = list(set(chain.from_iterable(words)).difference(known))
        encoded = self._pieces.encode_batch(new, add_special_tokens=False)
        known.update((word, found.ids) for word, found in zip(new, encoded, strict=True))
        self._known = known  # never emptied in place: another thread may be reading it
        return [list(chain.from_iterable(map(known.__getitem__, text))) for text in words]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Every piece as the vocabulary has it: special ones too, and ``##`` before the rest of a word."""
        return [str(self._pieces.id_to_token(id_)) for id_ in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text again, without special pieces; lower case, and with blanks as BERT's pieces have them."""
        return str(self._pieces.decode(list(ids), skip_special_tokens=True))


def collect_word_pieces(tables: Iterable[ExampleTable]) -> tuple[int, ...]:
    """[UNK], which stands for all others, the other special pieces, and every word piece of these tables' texts."""
    special = (UNK, PAD, CLS, SEP, MASK)
    seen = {int(piece) for table in tables for piece in table.pieces()}
    return (*special, *sorted(seen.difference(special)))
