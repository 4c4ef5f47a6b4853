"""Ten people answer one question: most agree, some use another word, slip by one, mistype or look wrongly.

Paper: VQA scores an answer by how many of ten annotators gave it (section 2.1 and Eq. 1's targets).
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

import numpy as np

from twelvefold.world.categories import BACKGROUND_BY_NAME, CATEGORIES, COLORS
from twelvefold.world.text.lexicon import (
    CATEGORY_NOUNS,
    COLOR_WORDS,
    PATTERN_WORDS,
    SIZE_WORDS,
    bernoulli,
    choice,
    shuffled,
)

ANNOTATORS: Final = 10
AGREEING: Final = (10, 10, 10, 9, 9, 9, 8, 8, 7, 7, 6, 5)
"""How many give the true answer, drawn from this list: about 8 of 10, as in the official annotations."""
MOST_ALIKE: Final = 3
"""At most this many of the others agree with one another, so that the truth stays the most frequent answer."""

SIMILAR_COLORS: Final[dict[str, tuple[str, ...]]] = {
    "red": ("orange", "maroon", "dark red"),
    "orange": ("red", "yellow", "light orange"),
    "yellow": ("gold", "orange", "light yellow"),
    "green": ("dark green", "teal", "lime"),
    "blue": ("navy", "dark blue", "purple"),
    "purple": ("violet", "blue", "pink"),
    "pink": ("light red", "purple", "rose"),
    "brown": ("tan", "dark orange", "red"),
    "gray": ("silver", "white", "black"),
    "black": ("dark gray", "gray", "dark"),
    "white": ("light gray", "gray", "cream"),
}
PLACE_ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "room": ("living room", "house", "inside"),
    "meadow": ("field", "grass", "park"),
    "beach": ("sand", "ocean", "seaside"),
    "street": ("road", "city", "sidewalk"),
    "kitchen": ("room", "tile floor", "inside"),
    "snow": ("outside", "winter", "mountains"),
    "night": ("outside", "dark", "sky"),
    "table": ("wood", "desk", "wooden table"),
    "paper": ("notebook", "page", "lined paper"),
    "carpet": ("rug", "floor", "mat"),
}

OTHER_ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "left": ("left side", "on left", "right", "middle"),
    "right": ("right side", "on right", "left", "middle"),
    "indoors": ("inside", "in", "outdoors", "yes"),
    "outdoors": ("outside", "out", "indoors", "yes"),
    "winter": ("snow", "in winter", "cold", "christmas"),
    "daytime": ("day", "afternoon", "noon", "morning"),
    "stripes": ("lines", "bars", "dots", "nothing"),
    "dots": ("spots", "polka dots", "circles", "stripes"),
    "checks": ("squares", "plaid", "grid", "stripes"),
}


def answer_type(answer: str) -> Literal["yes/no", "number", "other"]:
    """VQA's three types, told by the answer."""
    return "yes/no" if answer in ("yes", "no") else "number" if answer.isdigit() else "other"


def sample_answers(truth: str, rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    """Ten (answer, confidence) pairs in a drawn order; the truth, in its usual spelling, is the most frequent."""
    agreeing = choice(rng, AGREEING)
    others: list[str] = []
    near = _near(truth)
    while len(others) < ANNOTATORS - agreeing:
        answer = _typo(truth, rng) if bernoulli(rng, 0.06) else choice(rng, near)
        if answer != truth and others.count(answer) < MOST_ALIKE:
            others.append(answer)
    certain_matches = "yes" if bernoulli(rng, 0.7) else "maybe"
    pairs = [(truth, certain_matches if bernoulli(rng, 0.85) else "maybe") for _ in range(agreeing)]
    pairs += [(answer, choice(rng, ("yes", "maybe", "maybe", "no"))) for answer in others]
    return tuple(shuffled(rng, pairs))


def most_frequent(answers: tuple[tuple[str, str], ...]) -> str:
    """The answer given most often; of several, the one given first."""
    return Counter(answer for answer, _ in answers).most_common(1)[0][0]


def _near(truth: str) -> tuple[str, ...]:
    """What people answer who do not answer the truth: other words for it first, then easy mistakes."""
    if truth in ("yes", "no"):
        other = "no" if truth == "yes" else "yes"
        return (other, other, "maybe", "i think so" if truth == "yes" else "not really", "unsure")
    if truth.isdigit():
        return (str(int(truth) + 1), str(max(0, int(truth) - 1)), str(int(truth) + 2), "many", "several")
    if truth in COLORS:
        return (*COLOR_WORDS.get(truth, ()), *SIMILAR_COLORS[truth])
    if truth in CATEGORY_NOUNS:
        here = next(k.supercategory for k in CATEGORIES if k.name == truth)
        rivals = [k.name for k in CATEGORIES if k.supercategory == here and k.name != truth]
        names = [name for name, _ in CATEGORY_NOUNS[truth] if name != truth]
        return (*names, *names, *names, *rivals[:4], here, "toy")
    if truth in BACKGROUND_BY_NAME:
        return PLACE_ANSWERS[truth]
    for table in (PATTERN_WORDS, SIZE_WORDS):
        if truth in table:
            return (*table[truth], *(name for name in table if name != truth), "normal")
    return OTHER_ANSWERS.get(truth, ("not sure", "unknown", "can't tell"))


def _typo(word: str, rng: np.random.Generator) -> str:
    """The word with two neighbouring letters swapped, or one letter too many or too few."""
    at = int(rng.random() * max(1, len(word) - 1))
    return choice(
        rng, (word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :], word[:at] + word[at] + word[at:])
    )
