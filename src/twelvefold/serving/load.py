"""``twelvefold.load``: open a model by name or folder, together with the detector that it was trained with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import torch

from twelvefold.config.extract import WORLD, ExtractConfig, check_detector_name
from twelvefold.detectors.interface import RegionDetector
from twelvefold.detectors.load import check_has_weights, load_detector
from twelvefold.detectors.parallel import ParallelDetector
from twelvefold.detectors.world_detector.detector import fastest_cpu_dtype
from twelvefold.device import select_device
from twelvefold.export import hub
from twelvefold.export.hub import SHIPPED
from twelvefold.model import Model, card, feature_statistics
from twelvefold.model.card import Card, DetectorCard, TrainingData
from twelvefold.model.twin_encoder import TwinEncoder
from twelvefold.model.vocabulary import check_vocabulary
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.hub_mixin import HubMixin
from twelvefold.serving.model_info import ModelInfo
from twelvefold.serving.predictor import ImageInput, Predictor
from twelvefold.serving.request import describe
from twelvefold.serving.search_index import SearchIndex
from twelvefold.store.region_store import RegionStore

HUB_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")
"""Options of ``from_pretrained`` for the download; huggingface_hub passes all of them."""


class PretrainedPredictor(Predictor, HubMixin):
    """A predictor that :func:`load` returns: it can be saved, uploaded, and indexes images for search."""

    def index(self, images: Iterable[ImageInput] = (), *, names: Sequence[str] | None = None) -> SearchIndex:
        """Return ``SearchIndex(self, images, names=names)``: images to search by text many times.

        Raises:
            TwelvefoldError: a name is missing or used twice, or an image cannot be opened.
        """
        return SearchIndex(self, images, names=names)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        """Load a folder or ``user/name``; ``options`` as in ``from_pretrained`` and :func:`load`.

        Raises:
            TwelvefoldError: there is no such model, or its detector is missing.
        """
        hub_options = {name: options.pop(name) for name in HUB_OPTIONS}
        predictor = load(hub.resolve_folder(model_id, **hub_options), **options)
        if not isinstance(predictor, cls):
            raise TwelvefoldError(f"{model_id} loads as a {type(predictor).__name__}, not as a {cls.__name__}")
        return predictor


def load(
    name_or_path: str | Path | None = None,
    *,
    detector: str | RegionDetector | None = None,
    detector_weights: Path | str | None = None,
    any_detector: bool = False,
    device: str | torch.device = "auto",
    processes: int = 1,
) -> PretrainedPredictor:
    """Load a model with its detector.

    Args:
        name_or_path: the folder of a run (its latest checkpoint), of a model or of a hub, or ``user/name`` on a hub.
            None or ``shipped`` loads the small model that ships with the package.
        detector: a detector or its name ("world", "x152", "patches:resnet18" ...). None loads the one that the model
            was trained with.
        detector_weights: the detector's weight file, for detectors that do not ship with the package; for patches
            also "hub" (download the backbone's published weights) or "random".
        any_detector: accept a detector that differs from the one used in training.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or ``cuda:1`` for the second GPU.
        processes: among which the images of a call are divided to detect their regions, on a CPU; each loads the
            detector.

    Raises:
        TwelvefoldError: there is no such model or device, the detector needs a weight file, or the detector differs
            from the one used in training.
    """
    torch_device = select_device(device)
    folder = SHIPPED if name_or_path is None else hub.resolve_folder(name_or_path)
    network = Model.load(folder)
    check_vocabulary(network.config.vocab_size, str(folder))
    model_card = read_card(folder)
    region_detector, detector_name = _load_detector(
        detector, detector_weights, model_card.detector, torch_device, processes
    )
    _check_detector(region_detector, network, model_card.detector, any_detector=any_detector)
    info = ModelInfo(
        name=model_card.name or (folder.name if name_or_path is None else str(name_or_path)),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        tasks=tuple(network.tasks),
        trained_on=model_card.trained_on,
        detector=DetectorCard(
            name=detector_name,
            digest=region_detector.digest,
            feature_size=region_detector.feature_size,
            max_regions=model_card.detector.max_regions if model_card.detector else None,
        ),
        scores=model_card.scores,
        temperatures=model_card.temperatures,
        data=model_card.data or TrainingData(),
        limitations=tuple(model_card.limitations),
        license=model_card.license,
        score_details=model_card.score_details,
        calibrations=model_card.calibrations,
    )
    statistics, twin = feature_statistics.read(folder), TwinEncoder.read(folder)
    return PretrainedPredictor(network, region_detector, info, torch_device, statistics, twin)


def from_pretrained(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    **options: Any,
) -> PretrainedPredictor:
    """Load a local folder, or ``user/name`` from a hub: :func:`load` with the download options of Hugging Face.

    Args:
        name_or_path: as in :func:`load`.
        revision: branch, tag or commit on the hub.
        cache_dir: folder of downloads; None means huggingface_hub's.
        token: of the account, for private models.
        force_download: download again what is in the cache.
        local_files_only: use the cache, never the network.
        options: of :func:`load`: ``detector``, ``detector_weights``, ``any_detector``, ``device``.

    Raises:
        TwelvefoldError: as :func:`load`.
    """
    folder = hub.resolve_folder(
        name_or_path,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        force_download=force_download,
        local_files_only=local_files_only,
    )
    return load(folder, **options)


def read_card(folder: Path) -> Card:
    """Read the card of a model's folder; a checkpoint without one gets the detector from its run's region store."""
    model_card = card.read(folder)
    regions = folder.parent.parent / "regions" / "detected"
    if model_card.detector is None and folder.parent.name == "checkpoints" and regions.is_dir():
        store = RegionStore.open(regions)
        return msgspec.structs.replace(
            model_card, detector=DetectorCard.from_store_info(store.info, store.feature_size)
        )
    return model_card


def _load_detector(
    detector: str | RegionDetector | None,
    weights: Path | str | None,
    trained_with: DetectorCard | None,
    device: torch.device,
    processes: int,
) -> tuple[RegionDetector, str]:
    """Return the detector and its name: as requested or in the card, or else its class name."""
    if processes != 1 and device.type != "cpu":
        raise TwelvefoldError(f"{processes=}: a detector runs in several processes on a CPU, got device {device}")
    if detector is not None and not isinstance(detector, str):
        if processes != 1:
            raise TwelvefoldError(f"{processes=}: each process loads the detector, so give its name, not an object")
        if not hasattr(detector, "digest"):
            raise TwelvefoldError(f"detector: expected a name or a RegionDetector, got {describe(detector)}")
        if trained_with is not None and trained_with.digest == detector.digest:
            return detector, trained_with.name
        return detector, type(detector).__name__
    name = detector or (trained_with.name if trained_with else WORLD)
    check_has_weights(check_detector_name(name), str(weights or ""), "detector_weights (--detector-weights)")
    max_regions = trained_with.max_regions if trained_with and trained_with.name == name else None
    config = ExtractConfig(detector=name, weights=str(weights or ""), max_regions=max_regions)
    dtype = fastest_cpu_dtype()
    loaded = load_detector(config, dtype=dtype, device=device)
    return (loaded if processes == 1 else ParallelDetector(loaded, config, dtype, processes)), name


def _check_detector(
    detector: RegionDetector, network: Model, trained_with: DetectorCard | None, *, any_detector: bool
) -> None:
    if trained_with is None:
        advice = (
            "; name the detector used in training, with its weights, in Python: "
            "twelvefold.load(..., detector='x152', detector_weights=FILE)"
        )
    else:
        advice = (
            f"; give the weights of its detector {trained_with.name!r}: detector_weights=FILE (--detector-weights FILE)"
        )
    if detector.feature_size != network.config.feature_size:
        raise TwelvefoldError(
            f"the model reads features of {network.config.feature_size} numbers, but the detector gives "
            f"{detector.feature_size}{advice}"
        )
    if trained_with is not None and trained_with.digest != detector.digest and not any_detector:
        raise TwelvefoldError(
            f"the detector differs from the one used in training (expected digest {trained_with.digest}, got "
            f"{detector.digest}), so its features mean something else{advice}; in Python any_detector=True allows it"
        )
