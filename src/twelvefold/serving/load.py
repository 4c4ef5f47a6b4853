"""``twelvefold.load``: from a name or a folder to a model that answers, with the detector that it was trained with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from twelvefold.detectors.interface import RegionDetector
from twelvefold.detectors.load import OWN, load_detector
from twelvefold.detectors.world_detector.detector import best_arithmetic
from twelvefold.device import select_device
from twelvefold.export import hub
from twelvefold.model import Model, card
from twelvefold.model.card import Card, DetectorCard
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.predictor import About, Predictor
from twelvefold.store.region_store import RegionStore

SHIPPED = Path(__file__).parent / "weights"
"""The small model that comes with the package: its card says what it learnt."""


def load(
    where: str | Path | None = None,
    *,
    detector: str | RegionDetector | None = None,
    detector_weights: Path | None = None,
    any_detector: bool = False,
    device: str = "auto",
) -> Predictor:
    """A model to ask: the one that ships with the package, or that of a run, a model's or hub folder, or user/name.

    ``detector``: None takes the one that the model was trained with; another by name ("world", "x152" ..., with its
    file in ``detector_weights``), or one of your own. ``any_detector``: go on although it is another than that.

    Raises:
        TwelvefoldError: no model is there, or its detector needs a weight file, or sees with other eyes.
    """
    folder = SHIPPED if where is None else hub.folder_of(where)
    network = Model.load(folder)
    said = described(folder)
    place = select_device(device)
    eyes = _detector(detector, detector_weights, said.detector, place)
    if eyes.feature_size != network.config.feature_size:
        raise TwelvefoldError(
            f"the model reads features of {network.config.feature_size} numbers, but the detector gives "
            f"{eyes.feature_size}{_advice(said.detector)}"
        )
    if said.detector is not None and said.detector.digest != eyes.digest and not any_detector:
        raise TwelvefoldError(
            f"the model was trained with the regions of another detector (digest {said.detector.digest}, this one has "
            f"{eyes.digest}), and would see nothing it knows{_advice(said.detector)}; any_detector=True goes on"
        )
    used = DetectorCard(
        name=_name(detector, said.detector, eyes),
        digest=eyes.digest,
        feature_size=eyes.feature_size,
        max_regions=said.detector.max_regions if said.detector else None,
    )
    about = About(
        name=said.name or (folder.name if where is None else str(where)),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        tasks=tuple(network.tasks),
        trained_on=said.trained_on,
        detector=used,
        scores=said.scores,
        temperatures=said.temperatures,
    )
    return Predictor(network, eyes, about, place)


def described(folder: Path) -> Card:
    """The card of a model's folder. A checkpoint made before there were cards: what its run's regions tell."""
    said = card.read(folder)
    regions = folder.parent.parent / "regions" / "detected"
    if said.detector is None and folder.parent.name == "checkpoints" and regions.is_dir():
        store = RegionStore.open(regions)
        return msgspec.structs.replace(said, detector=DetectorCard.of(store.info, store.feature_size))
    return said


def _detector(
    wanted: str | RegionDetector | None, weights: Path | None, trained_with: DetectorCard | None, device: torch.device
) -> RegionDetector:
    if wanted is not None and not isinstance(wanted, str):
        return wanted
    name = wanted or (trained_with.name if trained_with else OWN)
    most = trained_with.max_regions if trained_with and trained_with.name == name else None
    return load_detector(name, weights, max_regions=most, arithmetic=best_arithmetic(), device=device)


def _name(wanted: str | RegionDetector | None, trained_with: DetectorCard | None, eyes: RegionDetector) -> str:
    """What the detector is called: by whom it was asked for, by the card that knows it, or by its own class."""
    if isinstance(wanted, str):
        return wanted
    if trained_with is not None and trained_with.digest == eyes.digest:
        return trained_with.name
    return OWN if wanted is None else type(wanted).__name__


def _advice(trained_with: DetectorCard | None) -> str:
    if trained_with is None:
        return "; name the detector that its training used, with its weights: detector='x152', detector_weights=FILE"
    return f"; give the weights of its detector {trained_with.name!r}: detector_weights=FILE"
