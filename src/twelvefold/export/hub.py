"""Models as model hubs keep them: one folder with weights, configuration, tokenizer and card; and back by name.

``load`` gives the network of a folder, or of a hub's ``user/name``: the one place here that opens the network.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment
from tokenizers import BertWordPieceTokenizer

from twelvefold.data.tokenizer import VOCABULARY
from twelvefold.model import Model, card, provenance, save_load
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files as files

FILES = (save_load.HUB_DESCRIPTION, save_load.TENSORS, card.CARD, "tokenizer.json", "vocab.txt", "README.md")

MARKDOWN = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
README = MARKDOWN.from_string(
    """---
library_name: twelvefold
pipeline_tag: visual-question-answering
tags: [vision-and-language, multi-task, vilbert]
---

# {{ name }}

One two-stream vision-and-language model for {{ tasks | length }} tasks, {{ "{:,}".format(parameters) }} parameters.
{% if came_from %}

Made of the published file `{{ came_from.file }}` ({{ came_from.kind }}; xxh3_128 {{ came_from.digest }}).
{% if came_from.fresh %}
{{ came_from.fresh | length }} of its tensors were not in that file and are untrained.
{% endif %}
{% endif %}

```python
import twelvefold

model = twelvefold.load("{{ name if "/" in name else "user/" + name }}")
```
{% if tasks %}

| task | family | head | outputs |
|---|---|---|---|
{% for task in tasks %}
{% set count = outputs[task.head] or "one score" %}
| {{ task.title }} (`{{ task.name }}`) | {{ task.family }} | `{{ task.head }}` | {{ count }} |
{% endfor %}
{% else %}

It has no task heads: a start for training.
{% endif %}

It reads region features of {{ config.feature_size }} numbers and BERT's uncased word pieces, at most
{{ config.max_position_embeddings }} a text. Its answers carry the biases of its training data; use it for research.
"""
)


@dataclass(frozen=True, slots=True)
class HubSummary:
    """What was written."""

    folder: Path
    files: tuple[str, ...]
    parameters: int


def write_hub_folder(model: Path, out: Path, *, name: str = "") -> HubSummary:
    """Make a folder to upload of a model's folder, or a run's. ``name``: ``user/name`` on the hub, for the card.

    Raises:
        TwelvefoldError: ``model`` holds no model, or ``out`` something else than a hub folder.
    """
    model = save_load.model_folder(model)
    said, came_from = save_load.describe(model), provenance.read(model)
    check_free(out)
    parameters = sum(parameter.numel() for parameter in Model.load(model).parameters())
    with files.atomic_folder(out) as folder:
        shutil.copyfile(model / save_load.TENSORS, folder / save_load.TENSORS)
        shutil.copyfile(model / save_load.DESCRIPTION, folder / save_load.HUB_DESCRIPTION)
        shutil.copyfile(VOCABULARY, folder / "vocab.txt")
        BertWordPieceTokenizer(str(VOCABULARY), lowercase=True).save(str(folder / "tokenizer.json"))
        card.write(folder, card.read(model))
        text = README.render(
            name=name or out.name,
            tasks=said.tasks,
            outputs={head.name: len(head.outputs) for head in said.heads},
            config=said.config,
            parameters=parameters,
            came_from=came_from,
        )
        files.write_text(folder / "README.md", text)
    return HubSummary(out, FILES, parameters)


def check_free(out: Path) -> None:
    """See that a folder may become a hub folder: it isn't there, is empty, or is one.

    Raises:
        TwelvefoldError: it holds anything else, which would be lost.
    """
    others = sorted(path.name for path in out.iterdir() if path.name not in FILES) if out.is_dir() else []
    if others or out.is_file():
        raise TwelvefoldError(
            f"{out} holds something else than a model{f' ({others[0]})' if others else ''}; choose another folder"
        )


def load(where: str | Path) -> Model:
    """The model of a folder (of ours or of a hub), or of a hub by ``user/name``, in evaluation mode.

    Raises:
        TwelvefoldError: there is no such folder, nothing of that name on the hub, or what is there is no model.
    """
    return Model.load(folder_of(where))


def folder_of(where: str | Path, **fetching: Any) -> Path:
    """A model's folder as it is, of a run its latest checkpoint; or that of ``user/name`` on a hub, fetched where it
    isn't here yet.

    ``fetching``: what ``huggingface_hub.snapshot_download`` takes (``revision``, ``token``, ``local_files_only`` ...).

    Raises:
        TwelvefoldError: there is no such folder and nothing of that name on the hub, or the folder holds no model.
    """
    folder = Path(where)
    if folder.is_dir():
        return save_load.model_folder(folder)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(where)) or str(where).startswith("."):
        raise TwelvefoldError(f"no folder {where}; give a model's folder, or a name on the hub such as user/name")
    return _fetched(str(where), fetching)


def push(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload a hub folder as ``user/name``; its address. Whoever is logged in to the hub does it.

    Raises:
        TwelvefoldError: it is no hub folder, or the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise TwelvefoldError(f"{folder} lacks {', '.join(missing)}; make it with twelvefold weights export DIR --hub")
    try:
        HfApi().create_repo(name, private=private, exist_ok=True)
        HfApi().upload_folder(repo_id=name, folder_path=folder, allow_patterns=list(FILES))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise TwelvefoldError(f"{folder} could not be uploaded as {name}: {error}") from error
    return name


def _fetched(name: str, fetching: Mapping[str, Any]) -> Path:
    """The folder of a hub's model on this machine, fetched where it isn't there yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES), **fetching))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise TwelvefoldError(f"no folder {name}, and the hub gives no model of that name: {reason}") from error
