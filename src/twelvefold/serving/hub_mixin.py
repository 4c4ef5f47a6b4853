"""A predictor as model hubs know it: ``save_pretrained``, ``from_pretrained``, ``push_to_hub``, by the hub's own mixin.

What is written is the folder of :func:`twelvefold.export.hub.write_hub_folder`, which :func:`twelvefold.load` reads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from huggingface_hub import ModelHubMixin

from twelvefold.export import hub
from twelvefold.model import Model, card
from twelvefold.model.card import Card
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.serving.predictor import About


class Shared(ModelHubMixin, library_name="twelvefold"):
    """What a predictor takes from the hub.

    ``save_pretrained(folder)`` leaves network, configuration, tokenizer and cards there; ``push_to_hub("user/name")``
    uploads the same as whoever is logged in; ``from_pretrained(folder or "user/name", detector=...)`` loads it, with
    the options of :func:`twelvefold.load`. The detector's weights are not part of it.
    """

    network: Model
    about: About

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Leave a hub folder; ``options`` as in ``huggingface_hub.ModelHubMixin``.

        Raises: TwelvefoldError where the folder holds something else; nothing is touched then.
        """
        hub.check_free(Path(save_directory))
        return super().save_pretrained(save_directory, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        about = self.about
        said = Card(
            name=about.name,
            trained_on=about.trained_on,
            detector=about.detector,
            scores=dict(about.scores),
            temperatures=dict(about.temperatures),
        )
        with tempfile.TemporaryDirectory() as made:
            self.network.save(Path(made))
            card.write(Path(made), said)
            hub.write_hub_folder(Path(made), save_directory, name=about.name)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **options: Any,
    ) -> Self:
        """Raises: TwelvefoldError where there is no such model, or its detector is missing."""
        from twelvefold.serving.load import load

        where = hub.folder_of(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        loaded = load(where, **options)
        if not isinstance(loaded, cls):
            raise TwelvefoldError(f"{model_id} loads as a {type(loaded).__name__}, asked for is a {cls.__name__}")
        return loaded
