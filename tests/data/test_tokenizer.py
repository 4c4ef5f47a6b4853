"""The vocabulary is BERT's, and encoding word by word equals encoding whole texts."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from twelvefold.data import tokenizer as text
from twelvefold.data.tokenizer import CLS, MASK, PAD, SEP, UNK, VOCABULARY, Tokenizer


@pytest.fixture(scope="module")
def tokens() -> Tokenizer:
    return Tokenizer()


def test_the_vocabulary_is_that_of_bert() -> None:
    data = VOCABULARY.read_bytes()
    assert len(data) == 231_508
    assert hashlib.sha256(data).hexdigest() == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    pieces = data.decode().splitlines()
    assert len(pieces) == 30_522
    assert [pieces[n] for n in (PAD, UNK, CLS, SEP, MASK, 1996)] == [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        "the",
    ]
    assert VOCABULARY.with_name("vocab.NOTICE.txt").read_text().count("Apache License") == 1


def test_known_ids(tokens: Tokenizer) -> None:
    assert tokens.vocab_size == 30_522
    assert tokens.encode("Is the man's hat") == [2003, 1996, 2158, 1005, 1055, 6045]
    assert tokens.encode("IS THE MAN'S HAT") == tokens.encode("is the man's hat")
    assert tokens.encode("\u2603 ") == [UNK]
    assert tokens.decode(tokens.encode("A red bus.")) == "a red bus."


def test_empty_and_blank_texts_have_no_ids(tokens: Tokenizer) -> None:
    assert tokens.encode_batch(["", "  \n"]) == [[], []]


def test_encode_batch_equals_encode(tokens: Tokenizer) -> None:
    texts = ["what color is the cat?", "", "unbelievablyunbelievable", "two dogs and a kite"]
    assert tokens.encode_batch(texts) == [tokens.encode(text) for text in texts]


CACHED, WHOLE = Tokenizer(), BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
ODD = [
    "[MASK]",
    "##ing",
    "ΑΣ",
    "İ",
    "\u0301",
    "e\u0301",
    "中",
    "\u200d",
    "\xa0",
    "\t",
    "\x00",
    "'s",
    "a" * 101,
    "  ",
    "?",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.text(max_size=6) | st.sampled_from([*ODD, " "]), max_size=8).map("".join), max_size=8))
def test_encoding_word_by_word_equals_encoding_the_text(texts: list[str]) -> None:
    assert CACHED.encode_batch(texts) == [found.ids for found in WHOLE.encode_batch(texts, add_special_tokens=False)]


def test_a_full_cache_starts_again(tokens: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tokens.encode_batch(["a red bus", "two dogs"])
    monkeypatch.setattr(text, "MAX_CACHED_WORDS", 2)
    few = Tokenizer()
    assert [few.encode_batch([x])[0] for x in ("a red bus", "two dogs", "a red bus")] == [*expected, expected[0]]
    assert len(few._cache) == 3  # those of the last call only
