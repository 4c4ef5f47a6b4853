"""Answers of ten annotators to one question: synonyms, near misses and typing errors around the correct answer.

VQA scores an answer by the number of annotators who gave it. Paper: section 3.2, "a soft target score" (Eq. 1).
"""

from __future__ import annotations

from typing import Final

from numpy.random import Generator

from twelvefold.world.categories import CATEGORIES, CATEGORY_BY_NAME
from twelvefold.world.text.annotations import AnswerType
from twelvefold.world.text.lexicon import CATEGORY_NOUNS, COLOR_WORDS, PATTERN_WORDS, SIZE_WORDS
from twelvefold.world.text.sampling import alternatives, bernoulli, choice, shuffled

NUM_ANNOTATORS: Final = 10
NUM_AGREEING: Final = (10, 10, 10, 9, 9, 9, 8, 8, 7, 7, 6, 5)
"""The number of correct answers is drawn from this list: about 8 of 10, as in the official annotations."""
MAX_EQUAL_ERRORS: Final = 3
"""At most this many of the other answers are equal, so that the correct one stays the most frequent."""

SIMILAR_ANSWERS: Final = {
    "red": "orange | maroon | dark red",
    "orange": "red | yellow | light orange",
    "yellow": "gold | orange | light yellow",
    "green": "dark green | teal | lime",
    "blue": "navy | dark blue | purple",
    "purple": "violet | blue | pink",
    "pink": "light red | purple | rose",
    "brown": "tan | dark orange | red",
    "gray": "silver | white | black",
    "black": "dark gray | gray | dark",
    "white": "light gray | gray | cream",
    "room": "living room | house | inside",
    "meadow": "field | grass | park",
    "beach": "sand | ocean | seaside",
    "street": "road | city | sidewalk",
    "kitchen": "room | tile floor | inside",
    "snow": "outside | winter | mountains",
    "night": "outside | dark | sky",
    "table": "wood | desk | wooden table",
    "paper": "notebook | page | lined paper",
    "carpet": "rug | floor | mat",
    "left": "left side | on left | right | middle",
    "right": "right side | on right | left | middle",
    "indoors": "inside | in | outdoors | yes",
    "outdoors": "outside | out | indoors | yes",
    "winter": "snow | in winter | cold | christmas",
    "daytime": "day | afternoon | noon | morning",
    "stripes": "lines | bars | dots | nothing",
    "dots": "spots | polka dots | circles | stripes",
    "checks": "squares | plaid | grid | stripes",
    "yes": "no | no | maybe | i think so | unsure",
    "no": "yes | yes | maybe | not really | unsure",
}


def answer_type(answer: str) -> AnswerType:
    """Return the VQA answer type of an answer."""
    return "yes/no" if answer in ("yes", "no") else "number" if answer.isdigit() else "other"


def sample_answers(truth: str, rng: Generator) -> tuple[tuple[str, str], ...]:
    """Return ten (answer, confidence) pairs in random order. ``truth`` is the most frequent answer."""
    num_agreeing = choice(rng, NUM_AGREEING)
    errors: list[str] = []
    similar = _similar_answers(truth)
    while len(errors) < NUM_ANNOTATORS - num_agreeing:
        answer = _misspell(truth, rng) if bernoulli(rng, 0.06) else choice(rng, similar)
        if answer != truth and errors.count(answer) < MAX_EQUAL_ERRORS:
            errors.append(answer)
    confidence = "yes" if bernoulli(rng, 0.7) else "maybe"
    pairs = [(truth, confidence if bernoulli(rng, 0.85) else "maybe") for _ in range(num_agreeing)]
    pairs += [(answer, choice(rng, ("yes", "maybe", "maybe", "no"))) for answer in errors]
    return tuple(shuffled(rng, pairs))


def _similar_answers(truth: str) -> tuple[str, ...]:
    """Return what other annotators answer: synonyms and easy mistakes."""
    if truth in SIMILAR_ANSWERS:
        names = alternatives(COLOR_WORDS[truth]) if truth in COLOR_WORDS else ()
        return (*names, *alternatives(SIMILAR_ANSWERS[truth]))
    if truth.isdigit():
        number = int(truth)
        return (str(number + 1), str(max(0, number - 1)), str(number + 2), "many", "several")
    if truth in CATEGORY_BY_NAME:
        supercategory = CATEGORY_BY_NAME[truth].supercategory
        rivals = [c.name for c in CATEGORIES if c.supercategory == supercategory and c.name != truth]
        synonyms = [name for name in CATEGORY_NOUNS[truth] if name != truth]
        return (*synonyms * 3, *rivals[:4], supercategory, "toy")
    for table in (PATTERN_WORDS, SIZE_WORDS):
        if truth in table:
            return (*alternatives(table[truth]), *(name for name in table if name != truth), "normal")
    return ("not sure", "unknown", "can't tell")


def _misspell(word: str, rng: Generator) -> str:
    """Swap two neighboring letters, or repeat one."""
    i = int(rng.random() * max(1, len(word) - 1))
    swapped = word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :]
    return choice(rng, (swapped, word[: i + 1] + word[i:]))
