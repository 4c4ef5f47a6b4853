"""``save_pretrained``, ``push_to_hub`` and ``from_pretrained`` of huggingface_hub for a predictor.

The saved folder is the one of :func:`twelvefold.export.hub.write_hub_folder`, which :func:`twelvefold.load` reads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin

from twelvefold.export import hub
from twelvefold.model import Model, card
from twelvefold.model.card import Card
from twelvefold.serving.inference import InferenceContext
from twelvefold.serving.model_info import ModelInfo


class HubMixin(ModelHubMixin, library_name="twelvefold"):
    """Save a predictor as a hub folder and upload it.

    ``save_pretrained(folder)`` writes weights, configuration, tokenizer and cards; ``push_to_hub("user/name")`` uploads
    them. The detector's weights are not included. Subclasses implement ``_from_pretrained``.
    """

    network: Model
    about: ModelInfo
    context: InferenceContext

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write a hub folder; ``options`` as in ``huggingface_hub.ModelHubMixin``.

        Raises:
            TwelvefoldError: the folder contains other files; nothing is written then.
        """
        hub.check_free(Path(save_directory))
        return super().save_pretrained(save_directory, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        about = self.about
        model_card = Card(
            name=about.name,
            trained_on=about.trained_on,
            detector=about.detector,
            data=about.data,
            license=about.license,
            scores=dict(about.scores),
            score_details=dict(about.score_details),
            temperatures=dict(about.temperatures),
            calibrations=dict(about.calibrations),
        )
        with tempfile.TemporaryDirectory() as folder:
            self.network.save(Path(folder))
            card.write(Path(folder), model_card)
            if self.context.statistics is not None:
                self.context.statistics.write(Path(folder))
            if self.context.twin is not None:
                self.context.twin.write(Path(folder))
            hub.write_hub_folder(Path(folder), save_directory, name=about.name)
