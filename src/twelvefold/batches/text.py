"""Text as numbers: BERT's uncased WordPiece, from the vocabulary shipped beside this file.

Paper: section 3.1 (words are WordPiece tokens, between ``[CLS]`` and ``[SEP]``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from twelvefold.store.tables import ExampleTable

VOCABULARY = Path(__file__).with_name("vocab.txt")
PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103
"""Ids of the special pieces: their lines in the vocabulary."""


class Tokens:
    """The one tokenizer of the project. ``version`` changes with the vocabulary, and so do tables made with it."""

    def __init__(self) -> None:
        self._pieces = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
        self.size: int = self._pieces.get_vocab_size()
        self.version = "wordpiece-" + hashlib.sha256(VOCABULARY.read_bytes()).hexdigest()[:16]

    def ids(self, text: str) -> list[int]:
        """The ids of a text, uncut, without ``[CLS]`` and ``[SEP]``; none for a text of blanks."""
        return self.many([text])[0]

    def many(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`ids` of every text, several times as fast."""
        return [list(found.ids) for found in self._pieces.encode_batch(list(texts), add_special_tokens=False)]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Every piece as the vocabulary has it: special ones too, and ``##`` before the rest of a word."""
        return [str(self._pieces.id_to_token(id_)) for id_ in ids]

    def text(self, ids: Sequence[int]) -> str:
        """Readable text again, without special pieces; lower case, and with blanks as BERT's pieces have them."""
        return str(self._pieces.decode(list(ids), skip_special_tokens=True))


def seen_pieces(tables: Iterable[ExampleTable]) -> tuple[int, ...]:
    """[UNK], which stands for all others, the other special pieces, and every word piece of these tables' texts."""
    special = (UNK, PAD, CLS, SEP, MASK)
    seen = {int(piece) for table in tables for piece in table.pieces()}
    return (*special, *sorted(seen.difference(special)))
