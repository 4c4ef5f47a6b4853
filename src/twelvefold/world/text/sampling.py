"""Random choices for the language of the world.

Each function uses a fixed number of uniform numbers. The bytes of a world depend on their order.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import TypeVar

from numpy.random import Generator

T = TypeVar("T")


def choice(rng: Generator, options: Sequence[T]) -> T:
    """Return one of the options with equal probability."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: Generator, options: Iterable[T]) -> list[T]:
    """Return the options in random order."""
    order = list(options)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


def bernoulli(rng: Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(rng.random() < probability)


@cache
def alternatives(text: str) -> tuple[str, ...]:
    """Split ``"little | tiny"`` into its alternatives. A repeated alternative is chosen more often."""
    return tuple(text.split(" | "))


def fill(rng: Generator, templates: str, *values: object, **slots: object) -> str:
    """Choose one of the alternatives of ``templates`` and fill in its ``{slots}``."""
    return choice(rng, alternatives(templates)).format(*values, **slots)


def collect_distinct(
    sample: Callable[[], T | None], key: Callable[[T], Hashable], count: int, attempts: int | None = None
) -> tuple[T, ...]:
    """Call ``sample`` until it has returned ``count`` records with different keys, at most ``attempts`` times."""
    records: dict[Hashable, T] = {}
    for _ in itertools.count() if attempts is None else range(attempts):
        record = sample()
        if record is not None:
            records.setdefault(key(record), record)
        if len(records) == count:
            break
    return tuple(records.values())


def parse_templates(table: str) -> tuple[tuple[str, str], ...]:
    """Parse lines of the form ``weight name: templates``. An indented line continues the one before.

    Returns:
        (name, templates) pairs, each as often as its weight, which is 1 by default.
    """
    rows = re.findall(r"^(\d*) ?([a-z ]+): (.*(?:\n +.*)*)", table, re.MULTILINE)
    return tuple((name, " ".join(text.split())) for weight, name, text in rows for _ in range(int(weight or 1)))
