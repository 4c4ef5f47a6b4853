"""One vision-and-language model for twelve tasks: train it jointly on clean splits, evaluate it, use it.

Every command of ``twelvefold --help`` is also a Python function of the same name, for example
``twelvefold.train.train`` or ``twelvefold.preparation.prepare.prepare``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twelvefold.serving.load import load as load
else:

    def __getattr__(name: str) -> Any:
        """Import ``load`` when it is first used, so that ``import twelvefold`` is fast."""
        if name != "load":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from twelvefold.serving.load import load

        return load
