"""The shipped vocabulary is BERT's, and texts of every length are framed."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from twelvefold.data import tokenizer as text
from twelvefold.data.tokenizer import CLS, MASK, PAD, SEP, UNK, VOCABULARY, Tokens


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


KEPT, WHOLE = Tokens(), BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
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
def test_ids_word_by_word_are_those_of_the_whole_text(texts: list[str]) -> None:
    assert KEPT.many(texts) == [found.ids for found in WHOLE.encode_batch(texts, add_special_tokens=False)]


def test_words_beyond_what_is_kept_are_looked_up_anew(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tokens.many(["a red bus", "two dogs"])
    monkeypatch.setattr(text, "WORDS_KEPT", 2)
    few = Tokens()
    assert [few.many([one])[0] for one in ("a red bus", "two dogs", "a red bus")] == [*expected, expected[0]]
    assert len(few._known) == 3  # those of the last call alone
