"""Answers as VQA's official evaluator compares them: the normaliser, soft scores and answer lists.

Paper: section 3.2 (VQA heads, 3129 answers). The quirks of the evaluator are kept, since published numbers hold
them; each is said where it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.safe_pickle import load_plain
from twelvefold.schema import SoftAnswers, TwelvefoldError

MIN_COUNT = 9
"""An answer enters the list when it is the chosen one of at least so many questions (original project: 3129 stay)."""

SIGNS = frozenset(';/[]"{}()=+\\_-><@`,?!')
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
ARTICLES = frozenset(("a", "an", "the"))
# A period goes unless a digit follows. The evaluator's pattern means to look behind as well, but is misspelt.
PERIOD = re.compile(r"\.(?!\d)")
PERIODS_AT_MOST = 32  # the evaluator hands re.UNICODE (32) to the argument that counts
COMMA_IN_NUMBER = re.compile(r"\d,\d")

# The evaluator's table, without its keys that hold a capital: those never match, as the text is lower-case by then.
_PLAIN = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd
it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll
somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll
they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_WITH_HAVE = """
couldn't hadn't he'd it'd mightn't she'd shouldn't somebody'd someone'd something'd there'd they'd we'd who'd wouldn't
you'd
"""


def _contractions() -> dict[str, str]:
    table = {word.replace("'", ""): word for word in _PLAIN.split()}
    for word in _WITH_HAVE.split():  # couldnt've and couldn'tve: one of two apostrophes forgotten
        table[f"{word.replace(chr(39), '')}'ve"] = f"{word}'ve"
        table[f"{word}ve"] = f"{word}'ve"
    table |= dict.fromkeys(("yall'd've", "y'alld've", "y'all'dve"), "y'all'd've")
    table |= dict.fromkeys(("yall'll", "y'allll"), "y'all'll")
    table |= dict.fromkeys(("ow's'at", "'ows'at", "'ow'sat"), "'ow's'at")
    return table | {"let's": "let's", "she's": "she's", "somebody'd": "somebodyd"}  # the last: a slip of the table


CONTRACTIONS = _contractions()
WORDS = CONTRACTIONS | NUMBERS | dict.fromkeys(ARTICLES, "")
"""What becomes of a word; no word is two of these."""


@lru_cache(maxsize=1 << 16)
def normalise(answer: str) -> str:
    """An answer as the official evaluator compares it: signs, number words, articles and contractions dealt with.

    Each sign becomes a blank, or vanishes when a blank stands beside one of its kind; a comma inside a number
    makes *every* sign vanish. Only the first 32 periods are looked at.
    """
    text = tidy(answer)
    out = text
    for sign in SIGNS.intersection(text):
        vanishes = f"{sign} " in text or f" {sign}" in text or COMMA_IN_NUMBER.search(text)
        out = out.replace(sign, "" if vanishes else " ")
    if "." in out:
        out = PERIOD.sub("", out, count=PERIODS_AT_MOST)
    return " ".join([said for word in out.lower().split() if (said := WORDS.get(word, word))])


def tidy(answer: str) -> str:
    """Line ends and tabs as blanks, none at the ends: all that the evaluator does where ten answers agree."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def compared(answers: Sequence[str]) -> list[str]:
    """The annotators' answers as the evaluator compares them: normalised only where they aren't all the same."""
    tidied = [tidy(answer) for answer in answers]
    return tidied if len(set(tidied)) == 1 else [normalise(answer) for answer in answers]


def soft_scores(answers: Sequence[str]) -> SoftAnswers:
    """The score of every answer given, by the leave-one-out rule: with ten annotators min(1, 0.3 c).

    An answer that c of n annotators gave scores the mean, over the n ways to leave one annotator out, of
    min(1, matches / 3); alone, an annotator therefore scores 0.
    """
    n = len(answers)
    # Counting ten short strings over and over takes two thirds of the time of a Counter.
    return SoftAnswers({answer: _score(answers.count(answer), n) for answer in dict.fromkeys(answers) if answer})


@lru_cache(maxsize=256)
def _score(c: int, n: int) -> float:
    return (c * min(3, c - 1) + (n - c) * min(3, c)) / (3 * n)


def frequent(answers: Iterable[str] | Mapping[str, int], min_count: int) -> list[str]:
    """The answers given at least ``min_count`` times, most frequent first, ties in alphabetical order.

    Raises:
        TwelvefoldError: none is left.
    """
    counts = Counter(answers)
    counts.pop("", None)
    kept = sorted((answer for answer, n in counts.items() if n >= min_count), key=lambda a: (-counts[a], a))
    if not kept:
        most = counts.most_common(1)
        best = f"the most frequent, {most[0][0]!r}, occurs {most[0][1]} times" if most else "there are no answers"
        raise TwelvefoldError(f"no answer occurs {min_count} times or more: {best}; lower min_count")
    return kept


def load_answers(path: Path) -> list[str]:
    """A given answer list in head order: a JSON list, or the original project's pickle; either may be the inverse
    mapping from answer to its place.

    Raises:
        TwelvefoldError: the file is something else, an answer occurs twice, or a place is missing.
    """
    try:
        value = msgspec.json.decode(path.read_bytes()) if path.suffix == ".json" else load_plain(path)
    except FileNotFoundError:
        raise TwelvefoldError(f"no answer list {path}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TwelvefoldError(f"the answer list {path} is truncated or not JSON: {error}") from None
    if isinstance(value, dict) and sorted(value.values(), key=repr) == sorted(range(len(value)), key=repr):
        value = sorted(value, key=value.__getitem__)
    if not isinstance(value, list) or not value or not all(isinstance(answer, str) for answer in value):
        raise TwelvefoldError(
            f"{path}: expected a list of answers, or a mapping from each answer to its place 0, 1, ... in the list"
        )
    twice = [answer for answer, n in Counter(value).items() if n > 1]
    if twice:
        raise TwelvefoldError(f"{path}: the answer {twice[0]!r} is in the list more than once")
    return value
