"""The task families of section 2.1: target, loss, score, decoding and all else that is particular to a family.

Each module of this package is a family: it has the family's name and defines ``FAMILY``, an object of a subclass of
:class:`Family`. A new family is a new file. What families share is in the subpackage ``shared``.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from twelvefold.families.shared.interface import Family as Family
from twelvefold.schema import TwelvefoldError, did_you_mean


@cache
def family_names() -> tuple[str, ...]:
    """Return the names of all families in the order of their groups."""
    modules = [module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg]
    return tuple(sorted(modules, key=lambda name: (_load(name).group, name)))


def load_family(name: str) -> Family:
    """Return a family by its name.

    Raises:
        TwelvefoldError: there is no such family.
    """
    if name not in family_names():
        known = f"there are {', '.join(family_names())}{did_you_mean(name, family_names())}"
        raise TwelvefoldError(f"no task family {name!r}; {known}")
    return _load(name)


@cache
def _load(name: str) -> Family:
    family: Family = importlib.import_module(f"{__name__}.{name}").FAMILY
    return family
