"""BERT's uncased WordPiece tokenizer, with the vocabulary shipped next to this file. Paper: section 3.1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from twelvefold.printable import is_encodable, printable_name
from twelvefold.schema import TwelvefoldError
from twelvefold.store.example_table import ExampleTable

VERSION = 1
"""Version of the results of this module. Increase it when a change gives other results: files computed from them are
then computed again."""

VOCABULARY = Path(__file__).with_name("vocab.txt")
PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103
"""Ids of the special tokens: their lines in the vocabulary."""

MAX_CACHED_WORDS = 1 << 17
"""Words whose ids are cached (about 30 MB); when there are more, the cache starts again."""


class Tokenizer:
    """The tokenizer of all texts. ``version`` identifies the vocabulary; tables made with another are made again."""

    def __init__(self) -> None:
        self._wordpiece = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
        self._cache: dict[str, list[int]] = {}
        self.vocab_size: int = self._wordpiece.get_vocab_size()
        self.version = "wordpiece-" + hashlib.sha256(VOCABULARY.read_bytes()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, not truncated, without ``[CLS]`` and ``[SEP]``."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return :meth:`encode` of every text, several times as fast.

        WordPiece and its text normalization never cross a space, so the ids of a text are those of its words, and each
        word is encoded once. Texts repeat their words: 5 microseconds a text instead of 35.

        Raises:
            TwelvefoldError: a text has lone surrogates.
        """
        cache = self._cache if len(self._cache) < MAX_CACHED_WORDS else {}
        words = [text.split(" ") for text in texts]
        new = list(set(chain.from_iterable(words)).difference(cache))
        if bad := next((word for word in new if not is_encodable(word)), ""):
            raise TwelvefoldError(
                f"a text has bytes that are not UTF-8 or half of a surrogate pair: {printable_name(bad)}"
            )
        encoded = self._wordpiece.encode_batch(new, add_special_tokens=False)
        cache.update((word, encoding.ids) for word, encoding in zip(new, encoded, strict=True))
        self._cache = cache  # replaced, never emptied: another thread may be reading the old one
        return [list(chain.from_iterable(map(cache.__getitem__, text))) for text in words]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return each id's token as it stands in the vocabulary, such as ``[CLS]``, ``dog`` or ``##s``."""
        return [str(self._wordpiece.id_to_token(id_)) for id_ in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Return readable lower-case text without special tokens."""
        return str(self._wordpiece.decode(list(ids), skip_special_tokens=True))


def collect_word_pieces(tables: Iterable[ExampleTable]) -> tuple[int, ...]:
    """Return the ids of [UNK], the other special tokens, and every token in these tables' texts, sorted.

    A model with embeddings for these tokens only uses [UNK]'s, the first, for all others.
    """
    special = (UNK, PAD, CLS, SEP, MASK)
    pieces = {int(piece) for table in tables for piece in table.distinct_token_ids()}
    return (*special, *sorted(pieces.difference(special)))
