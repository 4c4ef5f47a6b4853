"""The shipped vocabulary is BERT's, and texts of every length are framed."""

from __future__ import annotations

import hashlib

import pytest

from twelvefold.batches.text import CLS, MASK, PAD, SEP, UNK, VOCABULARY, Tokens


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens()


def test_the_vocabulary_is_the_published_one() -> None:
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


def test_known_ids(tokens: Tokens) -> None:
    assert tokens.size == 30_522
    assert tokens.ids("Is the man's hat") == [2003, 1996, 2158, 1005, 1055, 6045]
    assert tokens.ids("IS THE MAN'S HAT") == tokens.ids("is the man's hat")
    assert tokens.ids("\u2603 ") == [UNK]
    assert tokens.text(tokens.ids("A red bus.")) == "a red bus."


def test_empty_and_blank_texts_have_no_ids(tokens: Tokens) -> None:
    assert tokens.many(["", "  \n"]) == [[], []]


def test_many_agrees_with_one_by_one(tokens: Tokens) -> None:
    texts = ["what color is the cat?", "", "unbelievablyunbelievable", "two dogs and a kite"]
    assert tokens.many(texts) == [tokens.ids(text) for text in texts]
