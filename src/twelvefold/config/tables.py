"""The types of values in a recipe's tables, and the base class of the tables."""

from __future__ import annotations

from typing import Annotated

import msgspec

PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
NonNegativeInt = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Decay = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
NonNegativeFloat = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]


class StrictStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a recipe; keys other than its fields are refused."""
