"""Write a model as a folder for a model hub, upload it, and find a model by folder or by its name on a hub.

This module and ``download`` are the only ones that use the network.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader
from tokenizers import BertWordPieceTokenizer

from twelvefold.data.tokenizer import VOCABULARY
from twelvefold.datasets.reading.cards import IMAGE_SOURCES, dataset_cards
from twelvefold.model import Model, card, feature_statistics, provenance, save_load, twin_encoder
from twelvefold.model.card import Card, TrainingData
from twelvefold.schema import TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files

SHIPPED_NAME = "shipped"
"""Name of the small model that ships with the package, wherever a model's folder is expected."""
SHIPPED = Path(__file__).parents[1] / "serving" / "weights"
"""Folder of that model; its card says what it was trained on."""
FILES = (save_load.HUB_DESCRIPTION, save_load.TENSORS, card.CARD, "tokenizer.json", "vocab.txt", "README.md")
OPTIONAL_FILES = (feature_statistics.FILE, twin_encoder.FILE)
ALL_FILES = FILES + OPTIONAL_FILES

DRAWN_LICENSE = "drawn by twelvefold in this dataset's format: Apache-2.0"
UNKNOWN_LICENSE = "your own dataset: state it here"
LIMITS = (
    "It reads English, in lower case; other words are split into pieces that it has not learned.",
    "Answers to questions come from the fixed lists of the training data, and probabilities tell how often such an "
    "answer was right on data like the training data. On other images they are not reliable.",
    "Answers reflect the biases of the training data. The model is for research, not for decisions about people.",
)
"""What holds for every model of this package."""

_TEMPLATES = PackageLoader("twelvefold.export")
MARKDOWN = Environment(loader=_TEMPLATES, autoescape=False, trim_blocks=True, lstrip_blocks=True)  # noqa: S701


@dataclass(frozen=True, slots=True)
class HubSummary:
    """What was written."""

    folder: Path
    files: tuple[str, ...]
    parameters: int


def write_hub_folder(model: Path, out: Path, *, name: str = "", license_name: str = "") -> HubSummary:
    """Write a model as a folder for a hub: weights, configuration, tokenizer and model card.

    Args:
        model: Folder of a model, or of a run (its latest checkpoint).
        out: Folder to write; an older hub folder there is replaced.
        name: Name on the hub for the model card: ``user/name``.
        license_name: License of the weights as the hub names it, such as ``apache-2.0``; by default the card's.

    Raises:
        TwelvefoldError: ``model`` has no model, or ``out`` has other files.
    """
    model = save_load.model_folder(model)
    model_card = card.read(model)
    model_card = msgspec.structs.replace(model_card, license=license_name or model_card.license)
    check_free(out)
    parameters = sum(parameter.numel() for parameter in Model.load(model).parameters())
    with atomic_files.atomic_folder(out) as folder:
        shutil.copyfile(model / save_load.TENSORS, folder / save_load.TENSORS)
        shutil.copyfile(model / save_load.DESCRIPTION, folder / save_load.HUB_DESCRIPTION)
        shutil.copyfile(VOCABULARY, folder / "vocab.txt")
        BertWordPieceTokenizer(str(VOCABULARY), lowercase=True).save(str(folder / "tokenizer.json"))
        card.write(folder, model_card)
        optional = [name for name in OPTIONAL_FILES if (model / name).exists()]
        for name in optional:
            shutil.copyfile(model / name, folder / name)
        text = model_card_text(model, model_card, name or out.name, parameters)
        atomic_files.write_text(folder / "README.md", text)
    return HubSummary(out, (*FILES, *optional), parameters)


def model_card_text(model: Path, model_card: Card, name: str, parameters: int) -> str:
    """Return ``README.md``: a hub's metadata (license, test results), training data, test scores, limits and license.

    What is not known is stated as such.
    """
    description = save_load.describe(model)
    return MARKDOWN.get_template("README.md.jinja").render(
        name=name,
        metadata=metadata(model_card, name),
        tasks=description.tasks,
        outputs={head.name: len(head.outputs) for head in description.heads},
        config=description.config,
        parameters=parameters,
        origin=provenance.read(model),
        card=model_card,
        licenses=data_licenses(model_card.data) if model_card.data else {},
        limits=[*model_card.limitations, *LIMITS],
    )


def data_licenses(data: TrainingData) -> dict[str, str]:
    """Return the license of each task's annotations and images, as its publisher states it."""
    if data.world_seed is not None:
        return dict.fromkeys(data.examples, DRAWN_LICENSE)
    cards, licenses = dataset_cards(), dict.fromkeys(data.examples, UNKNOWN_LICENSE)
    for task in licenses.keys() & cards.keys():
        images = dict.fromkeys(IMAGE_SOURCES[name].license for name in cards[task].image_sources)
        licenses[task] = "; images: ".join([cards[task].license, *images])
    return licenses


def metadata(model_card: Card, name: str) -> str:
    """Return the YAML header of a model card: license, language, tags and the test results."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="visual-question-answering",
            dataset_type=f"twelvefold-drawn-{task}" if about.drawn else task,  # not the hub's data set of that name
            dataset_name=f"{about.title}, {about.data}" if about.data else about.title,
            dataset_split=about.split,
            metric_type=about.metric,
            metric_value=model_card.scores[task],
            metric_name=f"{about.metric} on {about.n:,} examples, percent",
        )
        for task, about in model_card.score_details.items()
        if model_card.scores.get(task) is not None
    ]
    header = ModelCardData(
        language="en",
        license=model_card.license or "other",
        library_name="twelvefold",
        pipeline_tag="visual-question-answering",
        tags=["vision-and-language", "multi-task", "vilbert"],
        model_name=name,
        eval_results=results or None,
    )
    return str(header.to_yaml()).strip()


def check_free(out: Path) -> None:
    """Check that a folder is missing, empty, or a hub folder.

    Raises:
        TwelvefoldError: it has other files, which would be lost.
    """
    others = sorted(path.name for path in out.iterdir() if path.name not in ALL_FILES) if out.is_dir() else []
    if others or out.is_file():
        raise TwelvefoldError(
            f"{out} has files that are not a model's{f' ({others[0]})' if others else ''}; choose another folder"
        )


def load_model(name_or_path: str | Path) -> Model:
    """Load the network of a folder, or of ``user/name`` on a hub, in evaluation mode.

    Raises:
        TwelvefoldError: there is no such folder and no such name on the hub, or it has no model.
    """
    return Model.load(resolve_folder(name_or_path))


def resolve_folder(name_or_path: str | Path, **download_options: Any) -> Path:
    """Return a model's folder: of a folder, of a run (its latest checkpoint), of ``user/name`` on a hub, or of
    ``shipped``, the small model that ships with the package.

    A model on a hub is downloaded if it is not in the cache. ``download_options``: arguments of
    ``huggingface_hub.snapshot_download`` (``revision``, ``token``, ``local_files_only`` ...).

    Raises:
        TwelvefoldError: there is no such folder and no such name on the hub, or it has no model.
    """
    if not isinstance(name_or_path, (str, os.PathLike)) or not str(name_or_path):
        raise TwelvefoldError(f"expected a model's folder or a name on the hub such as user/name, got {name_or_path!r}")
    folder, name = Path(name_or_path), str(name_or_path)
    if name.startswith("~"):
        folder = Path(os.path.expanduser(name))  # noqa: PTH111 - it leaves an unknown user's name as it is
    if folder.is_dir():
        return save_load.model_folder(folder)
    if name == SHIPPED_NAME:
        return SHIPPED
    if folder.exists():
        raise TwelvefoldError(
            f"{name} is a file; expected the folder of a model ({save_load.DESCRIPTION}, {save_load.TENSORS}) or of a "
            "run, or a name on the hub such as user/name; `twelvefold weights import` makes a folder of a checkpoint"
        )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise TwelvefoldError(
            f"no folder {name}; give a model's folder, a name on the hub such as user/name, or {SHIPPED_NAME!r} for "
            f"the model that ships with the package{did_you_mean(name, [SHIPPED_NAME])}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(ALL_FILES), **download_options))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise TwelvefoldError(f"no folder {name}, and the hub has no model of that name: {reason}") from error


def push_folder(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload a hub folder as ``user/name`` with the account that is logged in; return the name.

    Raises:
        TwelvefoldError: the folder is not a hub folder, or the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise TwelvefoldError(f"{folder} lacks {', '.join(missing)}; write it with twelvefold weights export DIR --hub")
    try:
        HfApi().create_repo(name, private=private, exist_ok=True)
        HfApi().upload_folder(repo_id=name, folder_path=folder, allow_patterns=list(ALL_FILES))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise TwelvefoldError(f"{folder} could not be uploaded as {name}: {error}") from error
    return name
