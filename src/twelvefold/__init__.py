"""One vision-and-language model for twelve tasks: train it jointly on clean splits, evaluate it, use it.

The commands of ``twelvefold --help`` call Python functions that you can call too, for example
``twelvefold.train.train``, ``twelvefold.preparation.prepare.prepare`` or the methods of the :class:`Predictor` that
``twelvefold.load`` returns.
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
