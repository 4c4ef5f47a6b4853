"""One vision-and-language model for twelve tasks: train it jointly on clean splits, evaluate it, use it.

``load`` (or ``from_pretrained``, its name in Hugging Face's libraries) returns a :class:`Predictor`; ``sample`` returns
the path of an image to try it on. The commands of ``twelvefold --help`` call Python functions that you can call too,
for example ``twelvefold.train.train`` or ``twelvefold.preparation.prepare.prepare``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twelvefold.serving.load import PretrainedPredictor as Predictor
    from twelvefold.serving.load import from_pretrained as from_pretrained
    from twelvefold.serving.load import load as load
    from twelvefold.serving.samples import sample as sample

    __version__: str

__all__ = ["Predictor", "__version__", "from_pretrained", "load", "sample"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import twelvefold`` is fast and does not import torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("twelvefold")
    if name == "sample":
        from twelvefold.serving.samples import sample

        return sample
    if name in ("Predictor", "from_pretrained", "load"):
        from twelvefold.serving import load as module

        return getattr(module, {"Predictor": "PretrainedPredictor"}.get(name, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
