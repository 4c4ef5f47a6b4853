"""Answers as VQA's official evaluator compares them: normalization, soft scores and answer lists.

Paper: section 3.2, "a set of the pre-defined answers"; their number, 3,129, is the original project's. The evaluator's
quirks are reproduced, because published scores include them; each is noted where it occurs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twelvefold.parsing.bounds import short_repr
from twelvefold.parsing.json_text import read_json
from twelvefold.parsing.text import read_text
from twelvefold.schema import SoftAnswers, TwelvefoldError, did_you_mean
from twelvefold.store.safe_pickle import load_plain

MIN_COUNT = 9
"""Questions whose chosen answer an answer must be to enter the list (original project: 3129 answers result)."""

PUNCTUATION = frozenset(';/[]"{}()=+\\_-><@`,?!')
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
ARTICLES = frozenset(("a", "an", "the"))
# A period is removed unless a digit follows. The evaluator's pattern should also look behind, but is misspelled.
PERIOD = re.compile(r"\.(?!\d)")
MAX_PERIODS = 32  # the evaluator passes re.UNICODE (32) as the argument `count`
COMMA_IN_NUMBER = re.compile(r"\d,\d")

# The evaluator's table, without its keys that have a capital letter: they never match lower-case text.
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
    for word in _WITH_HAVE.split():  # couldnt've and couldn'tve: one of two apostrophes is missing
        table[f"{word.replace(chr(39), '')}'ve"] = f"{word}'ve"
        table[f"{word}ve"] = f"{word}'ve"
    table |= dict.fromkeys(("yall'd've", "y'alld've", "y'all'dve"), "y'all'd've")
    table |= dict.fromkeys(("yall'll", "y'allll"), "y'all'll")
    table |= dict.fromkeys(("ow's'at", "'ows'at", "'ow'sat"), "'ow's'at")
    return table | {"let's": "let's", "she's": "she's", "somebody'd": "somebodyd"}  # the last is an error of the table


CONTRACTIONS = _contractions()
REPLACEMENTS = CONTRACTIONS | NUMBERS | dict.fromkeys(ARTICLES, "")
"""The replacement of each word that is not kept as it is."""


@lru_cache(maxsize=1 << 16)
def normalize_answer(answer: str) -> str:
    """Return an answer as the official evaluator compares it: punctuation, number words, articles, contractions.

    Each sign becomes a space, or is removed if one of its kind has a space next to it. A comma inside a
    number causes *all* signs to be removed. Only the first 32 periods are considered.
    """
    text = strip_answer(answer)
    normalized = text
    for character in PUNCTUATION.intersection(text):
        remove = f"{character} " in text or f" {character}" in text or COMMA_IN_NUMBER.search(text)
        normalized = normalized.replace(character, "" if remove else " ")
    if "." in normalized:
        normalized = PERIOD.sub("", normalized, count=MAX_PERIODS)
    words = (REPLACEMENTS.get(word, word) for word in normalized.lower().split())
    return " ".join([word for word in words if word])


def strip_answer(answer: str) -> str:
    """Replace line ends and tabs by spaces and strip both ends: all that is done to ten answers that agree."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def normalize_answers(answers: Sequence[str]) -> list[str]:
    """Return the annotators' answers as the evaluator compares them: normalized only if they are not all equal."""
    stripped = [strip_answer(answer) for answer in answers]
    return stripped if len(set(stripped)) == 1 else [normalize_answer(answer) for answer in answers]


def soft_scores(answers: Sequence[str]) -> SoftAnswers:
    """Return the score of every answer by the leave-one-out rule; with ten annotators min(1, 0.3 c).

    An answer that c of n annotators gave scores the mean, over the n ways to leave out one annotator, of
    min(1, matches / 3). An answer of a single annotator out of one scores 0.
    """
    n = len(answers)
    # list.count on ten short strings takes a third of the time of a Counter.
    return SoftAnswers({answer: _score(answers.count(answer), n) for answer in dict.fromkeys(answers) if answer})


@lru_cache(maxsize=256)
def _score(c: int, n: int) -> float:
    return (c * min(3, c - 1) + (n - c) * min(3, c)) / (3 * n)


def frequent_answers(answers: Iterable[str] | Mapping[str, int], min_count: int) -> list[str]:
    """Return the answers that occur at least ``min_count`` times, most frequent first, ties in alphabetical order.

    Raises:
        TwelvefoldError: no answer is frequent enough.
    """
    counts = Counter(answers)
    counts.pop("", None)
    frequent = sorted((answer for answer, n in counts.items() if n >= min_count), key=lambda a: (-counts[a], a))
    if not frequent:
        top = counts.most_common(1)
        reason = f"the most frequent, {top[0][0]!r}, occurs {top[0][1]} times" if top else "there are no answers"
        raise TwelvefoldError(f"no answer occurs {min_count} times or more: {reason}; lower min_count")
    return frequent


def load_answer_list(path: Path) -> list[str]:
    """Read an answer list in head order: a JSON list, a pickle of a list, or text with an answer on each line.

    JSON and pickles may instead hold a mapping, from each answer to its index or from each index to its answer. The
    content decides, whatever the file's name; only text needs a name that ends in ``.txt``.

    Raises:
        TwelvefoldError: the file holds something else, an answer occurs twice, or an index is missing.
    """
    if not path.is_file():
        raise TwelvefoldError(f"no answer list {path}")
    value = _read_value(path)
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, dict):
        value = _order_answers(value)
    if not isinstance(value, list) or not value or not all(isinstance(answer, str) for answer in value):
        raise TwelvefoldError(
            f"{path}: expected a list of answers, or a mapping between each answer and its index 0, 1, ..."
        )
    repeated = [answer for answer, n in Counter(value).items() if n > 1]
    if repeated:
        raise TwelvefoldError(f"{path}: the answer {repeated[0]!r} is in the list more than once")
    return value


def _read_value(path: Path) -> Any:
    """Return what a file of answers holds: JSON if it begins with a bracket or is called so, text, or a pickle."""
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1]  # a byte order mark and white space
    except OSError as error:
        raise TwelvefoldError(f"cannot read the answer list {path}: {error.strerror}") from error
    if suffix == ".json" or start in (b"[", b"{"):
        return read_json(path)
    if suffix == ".txt":
        lines = read_text(path).split("\n")
        return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    return load_plain(path)


def _order_answers(mapping: dict[Any, Any]) -> list[Any] | None:
    """Return the answers of a mapping by index, or None if its indices are not 0, 1, ..."""
    if all(isinstance(answer, str) for answer in mapping.values()):
        mapping = {answer: int(index) if str(index).isdecimal() else index for index, answer in mapping.items()}
    if sorted(mapping.values(), key=repr) != sorted(range(len(mapping)), key=repr):
        return None
    return sorted(mapping, key=mapping.__getitem__)


class AnswerList(NamedTuple):
    """The answers of a file, in head order."""

    file: Path
    answers: tuple[str, ...]


def read_answer_lists(files: Mapping[str, Path], owners: Mapping[str, str]) -> dict[str, AnswerList]:
    """Return the answer lists in ``files``, by the task that owns each (``TaskSpec.vocabulary``).

    ``files``: by any task that uses the list. ``owners``: of every task with an answer list, by its names.

    Raises:
        TwelvefoldError: a name is no task with an answer list, two files for one list differ, or as
            :func:`load_answer_list`.
    """
    lists: dict[str, AnswerList] = {}
    for task, file in files.items():
        if task not in owners:
            raise TwelvefoldError(
                f"no answer list is needed for {task!r}; the tasks with one are {', '.join(owners) or 'none of these'}"
                f"{did_you_mean(task, owners)}"
            )
        answer_list = AnswerList(file, tuple(load_answer_list(file)))
        other = lists.setdefault(owners[task], answer_list)
        if other.answers != answer_list.answers:
            raise TwelvefoldError(
                f"{file}: not the list of the other task that shares it, {other.file}: "
                f"{compare_answer_lists(answer_list.answers, other.answers)}"
            )
    return lists


def compare_answer_lists(first: Sequence[str], second: Sequence[str]) -> str:
    """Return how two answer lists differ, for errors; an empty string if they are equal."""
    if tuple(first) == tuple(second):
        return ""
    if set(first) == set(second):
        kind = f"the same {len(first):,} answers in another order"
    else:
        kind = f"{len(first):,} and {len(second):,} answers, {len(set(first) & set(second)):,} of them in both"
    index = next((n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    where = "" if index is None else f"; at index {index} {short_repr(first[index])} and {short_repr(second[index])}"
    return kind + where
