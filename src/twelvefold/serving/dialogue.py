"""Dialogues of questions and answers, as the text that GuessWhat's reader makes of them. Paper: section 2.1."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from twelvefold.datasets.guesswhat import format_dialogue
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.request import describe, parse_json, to_items

TURN_KEYS = (("question", "answer"), ("q", "a"))
"""Keys of a turn that is a dict: GuessWhat's published and its newer layout."""
IGNORED_KEYS = {"id"}
"""Other keys of GuessWhat's turns, which the model does not read."""
ANSWERS = {"yes", "no", "n/a", "not applicable"}
"""GuessWhat's answers, by which two texts are recognized as a turn that is not in a list."""

EXPECTED = 'a list of turns [("question", "answer"), ...], at least one, or a text'


def dialogue_text(dialogue: Any, argument: str = "dialogue") -> str:
    """Return a dialogue as one text: that of its turns joined as GuessWhat's reader joins them, or a text unchanged.

    A turn is a pair of texts, or a dict with ``question`` and ``answer`` (or ``q`` and ``a``).

    Raises:
        TwelvefoldError: it is no such list, has no turn, or a question or an answer is empty.
    """
    if isinstance(dialogue, str):
        return dialogue
    turns = to_items(dialogue, argument, EXPECTED)
    if not turns:
        raise TwelvefoldError(f"{argument}: expected {EXPECTED}, got an empty list")
    text = format_dialogue([_read_turn(turn, f"{argument}[{i}]") for i, turn in enumerate(turns)])
    if text is None:
        raise TwelvefoldError(f"{argument}: every turn needs a question and an answer, got an empty one")
    return text


def parse_dialogue(text: str) -> list[Any]:
    """Return the turns of a JSON list [["question", "answer"], ...], for :func:`dialogue_text`."""
    return parse_json(text, list[Any], "dialogue", 'of pairs ["question", "answer"], one for each turn')


def _read_turn(turn: Any, argument: str) -> tuple[str, str]:
    if isinstance(turn, Mapping):
        keys = next((keys for keys in TURN_KEYS if set(turn) - IGNORED_KEYS == set(keys)), None)
        if keys is None:
            raise TwelvefoldError(
                f"{argument}: a turn that is a dict has `question` and `answer` (or `q` and `a`), got the keys "
                f"{', '.join(map(str, turn)) or 'none'}"[:300]
            )
        turn = [turn[key] for key in keys]
    elif isinstance(turn, str):
        raise TwelvefoldError(
            f"{argument}: each turn is a pair of texts (question, answer), got the text {turn[:80]!r}"
        )
    texts = to_items(turn, argument, "a pair of texts (question, answer)")
    if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        received = ", ".join(describe(text) for text in texts[:4])
        raise TwelvefoldError(f"{argument}: turns are pairs of texts (question, answer), got {received or 'none'}")
    return texts[0], texts[1]


def split_dialogues(value: Any, *, with_list: bool, argument: str = "dialogue") -> str | list[str]:
    """Return the text of a dialogue, or of each dialogue of a list. ``with_list``: the images are a list.

    A list of texts, and a list of lists of turns, are several dialogues.

    Raises:
        TwelvefoldError: as :func:`dialogue_text`; or texts that are a question and an answer without a list of turns.
    """
    if isinstance(value, str):
        return value
    items = [_to_turn_list(each) for each in to_items(value, argument, f"{EXPECTED}; or a list of dialogues")]
    if not items and with_list:
        return []
    texts = [each for each in items if isinstance(each, str)]
    if items and len(texts) == len(items):
        answers = [text.strip().lower().rstrip(".") in ANSWERS for text in texts]
        if len(texts) % 2 == 0 and all(answers[1::2]):
            raise TwelvefoldError(
                f"{argument}: each turn is a pair in a list: [({texts[0][:80]!r}, {texts[1]!r}), ...]"
            )
        return texts
    if items and all(isinstance(each, str) or _holds_turns(each) for each in items):
        return [dialogue_text(each, f"{argument}[{i}]") for i, each in enumerate(items)]
    return dialogue_text(items, argument)


def _to_turn_list(value: Any) -> Any:
    """Read generators once, so that they can be looked at. A set stays one: its order means nothing."""
    if isinstance(value, (str, bytes, Mapping, Set)) or not hasattr(value, "__iter__"):
        return value
    return list(value)


def _holds_turns(value: Any) -> bool:
    """Return whether a value is a list of turns, or without turns, and not a turn."""
    return isinstance(value, list) and not any(isinstance(each, str) for each in value)
