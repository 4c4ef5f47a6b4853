"""The whole model: one trunk, task heads (tasks may share a head), and a token for each task."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.families import load_family
from twelvefold.model import save_load
from twelvefold.model.attention import AttentionWeights
from twelvefold.model.heads import LinearScore, build_head
from twelvefold.model.packing import PackedStates
from twelvefold.model.pretraining import PretrainingHeads, PretrainingLogits
from twelvefold.model.single_stream import SingleStreamTrunk
from twelvefold.model.trunk import Trunk, packed_regions, text_packing
from twelvefold.model.two_stream import TwoStreamTrunk
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError, did_you_mean

Precision = Literal["auto", "fp32", "bf16"]
"""Precision of the linear layers. ``auto``: bfloat16 on hardware with bfloat16 matrix instructions, else float32. On a
CPU without them bfloat16 is more than ten times slower (measured), so request ``bf16`` only for known hardware."""

Spec = TypeVar("Spec", TaskSpec, HeadSpec)
Score = Callable[[Tensor], Tensor]
Pairs = NDArray[np.int64]
"""Chosen pairs of a caption and an image, (n, 2): the rows of their batches."""

TRUNKS: dict[str, type[Trunk]] = {"two_stream": TwoStreamTrunk, "single_stream": SingleStreamTrunk}
"""Trunk classes by the value of ``ModelConfig.trunk``."""


class Model(nn.Module):
    """Trunk and task heads: from a batch to the logits of its task's head.

    ``tasks`` and ``head_specs`` are the model's tasks and heads by name. ``task_tokens`` names the rows of the
    task-token embedding. ``precision`` may be changed at any time: with ``bf16`` the linear layers compute in bfloat16,
    while weights, residual streams and logits stay float32. ``word_pieces``: ids of the word pieces that have an
    embedding of their own; all others share that of the first, [UNK]. Empty: all have their own.
    """

    trunk: Trunk

    def __init__(
        self,
        config: ModelConfig,
        tasks: Sequence[TaskSpec],
        heads: Sequence[HeadSpec],
        *,
        precision: Precision = "fp32",
        task_tokens: Sequence[str] = (),
        word_pieces: Sequence[int] = (),
    ) -> None:
        """Build a model with new weights, drawn from torch's global random number generator.

        ``task_tokens``: the rows of the task-token embedding in the order of a weight file; empty: the order of
        ``tasks`` (or of their groups, or ``heads``).

        Raises:
            TwelvefoldError: a task's head is missing or of another family or number of pairs; a name or word piece
                occurs twice; a word piece is not in the vocabulary.
        """
        super().__init__()
        self.config = config
        self.tasks = _by_name(tasks, "task")
        self.head_specs = _by_name(heads, "head")
        self.precision: Precision = precision
        for task in tasks:
            self._check_head(task)
        groups = tuple(dict.fromkeys(task.family for task in tasks))
        default_tokens = {"dataset": (*self.tasks,), "group": groups, "head": (*self.head_specs,), "none": ()}
        self.task_tokens = tuple(task_tokens) or default_tokens[config.task_token]
        self.word_pieces = _checked_word_pieces(word_pieces, config.vocab_size)
        self.trunk = TRUNKS[config.trunk](config, len(self.task_tokens), self.word_pieces)
        region_size = self.trunk.region_hidden_size
        self.heads = nn.ModuleDict({_module_key(spec.name): build_head(config, spec, region_size) for spec in heads})
        self.pretraining = (
            PretrainingHeads(config, region_size, len(self.word_pieces)) if config.num_region_categories else None
        )
        self.word_score = LinearScore(config, config.text_hidden_size) if config.word_score else None
        self._init_weights()

    @property
    def embedded_pieces(self) -> Sequence[int]:
        """Ids of the word pieces that have an embedding of their own, in the order of the embedding's rows."""
        return self.word_pieces or range(self.config.vocab_size)

    def forward(self, batch: Batch) -> Tensor:
        """Return float32 logits: answers and verification (B, A), retrieval (B, K), grounding (P, R).

        Raises:
            TwelvefoldError: the batch's task is not the model's, or its shapes do not fit.
        """
        task = self._checked_task(batch)
        batch = self._drop_modality(batch)
        states_of = self.trunk.region_states if load_family(task.family).chooses_region else self.trunk.fused
        with self._autocast(batch.features):
            return self._head_logits(task, states_of(batch, self._task_index(task.name)), batch)

    def forward_with_attention(self, batch: Batch) -> tuple[Tensor, list[AttentionWeights]]:
        """Return the logits of :meth:`forward` and the attention between words and regions, one entry a block.

        Rows are those of the trunk: words include the task token. For a model in evaluation mode.
        """
        task, weights = self._checked_task(batch), list[AttentionWeights]()
        batch = self._drop_modality(batch).with_padded_regions()
        with self._autocast(batch.features):
            output: TrunkOutput = self.trunk(batch, self._task_index(task.name), weights)
            states = output.regions if load_family(task.family).chooses_region else output.fused
            return self._head_logits(task, states, batch), weights

    def _head_logits(self, task: TaskSpec, states: Tensor, batch: Batch) -> Tensor:
        logits: Tensor = self.heads[_module_key(task.head)](states)
        if load_family(task.family).head_kind == "pair_score":
            logits = logits.view(-1, batch.pairs_per_example)  # (P,) -> (B, K)
        return logits

    def encode_images(self, images: Batch) -> PackedStates:
        """Encode images without a text; :meth:`alignments` can use the result for any number of captions."""
        images = self._drop_modality(images)
        with self._autocast(images.features):
            return self.trunk.encode_image(*packed_regions(images))

    def encode_texts(self, captions: Batch) -> PackedStates:
        """Encode the captions of a batch without their images."""
        captions = self._drop_modality(captions)
        with self._autocast(captions.features):
            index = self._task_index(captions.task)
            return self.trunk.encode_text(captions.token_ids, text_packing(captions), index)

    def alignments(
        self, captions: Batch, images: Batch | PackedStates, pairs_at_once: int = 1024, pairs: Pairs | None = None
    ) -> Tensor:
        """Return Rel(I, Q) of every caption of one batch with every image of another: (N, M) float32. Paper: Eq. 2.

        Captions and images are each encoded once. ``pairs_at_once``: number of caption-image pairs in one pass of the
        joint layers, which bounds the memory. ``pairs``: the only pairs to score; the result is then (n,).
        """
        task = self._task(captions.task)
        if load_family(task.family).head_kind != "pair_score":
            raise TwelvefoldError(f"task {task.name!r} of family {task.family} has no score for caption-image pairs")
        head = self.heads[_module_key(task.head)]
        return self._score_pairs(captions, images, head, pairs_at_once, pairs)

    def zero_shot_alignments(self, captions: Batch, images: Batch, pairs_at_once: int = 1024) -> Tensor:
        """Return :meth:`alignments` by the pretraining head, without a trained retrieval task.

        The score is the logit of "matching" minus the logit of "mismatched".

        Raises:
            TwelvefoldError: this model has no pretraining heads.
        """
        heads = self._pretraining_heads()

        def score(fused: Tensor) -> Tensor:
            logits = heads.align(fused)
            return logits[:, 0] - logits[:, 1]

        return self._score_pairs(captions, images, score, pairs_at_once)

    def encode(self, batch: Batch) -> TrunkOutput:
        """Return the trunk's whole output for a batch, from which every head computes its logits."""
        batch = self._drop_modality(batch)
        with self._autocast(batch.features):
            output: TrunkOutput = self.trunk(batch, self._task_index(batch.task))
        return output

    def pretraining_logits(
        self, batch: Batch, predict_tokens: Tensor | None = None, predict_regions: Tensor | None = None
    ) -> PretrainingLogits:
        """Return the logits of the pretraining heads.

        ``predict_tokens`` (P, L) and ``predict_regions`` (P, R), bool: compute logits only here; None means everywhere.
        The batch may be of any task if the model has no task tokens.

        Raises:
            TwelvefoldError: this model has no pretraining heads.
        """
        heads = self._pretraining_heads()
        if predict_tokens is not None and self.task_tokens:  # the trunk inserts the task token as second row
            first, rest = predict_tokens[:, :1], predict_tokens[:, 1:]
            predict_tokens = torch.cat([first, torch.zeros_like(first), rest], dim=1)  # (P, L) -> (P, L + 1)
        batch = self._drop_modality(batch)
        with self._autocast(batch.features):
            output = self.trunk(batch, self._task_index(batch.task))
            embeddings = self.trunk.text_embeddings.words.weight
            logits: PretrainingLogits = heads(output, embeddings, predict_tokens, predict_regions)
        return logits

    def word_scores(self, batch: Batch) -> Tensor:
        """Return one score for every row of the text stream: (P, L') float32.

        Raises:
            TwelvefoldError: this model has no such head.
        """
        if self.word_score is None:
            raise TwelvefoldError("this model has no head that scores words: its config has word_score = false")
        scores: Tensor = self.word_score(self.encode(batch).text)
        return scores

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` to a folder, from which :meth:`load` restores the model."""
        save_load.write(
            folder,
            save_load.Description(
                config=self.config,
                tasks=list(self.tasks.values()),
                heads=list(self.head_specs.values()),
                task_tokens=list(self.task_tokens),
                word_pieces=list(self.word_pieces),
            ),
            self.state_dict(),
        )

    @classmethod
    def load(cls, folder: Path, *, precision: Precision = "fp32") -> Model:
        """Load a model from a folder, in evaluation mode.

        Raises:
            TwelvefoldError: a file is missing or broken, or its tensors are not those of the described model; the
                message lists them by name.
        """
        description = save_load.describe(folder)
        with torch.device("meta"):
            model = cls(
                description.config,
                description.tasks,
                description.heads,
                precision=precision,
                task_tokens=description.task_tokens,
                word_pieces=description.word_pieces,
            )
        tensors = save_load.read(folder, model.state_dict())
        model.load_state_dict(tensors, assign=True)
        return model.eval()

    def _score_pairs(
        self,
        captions: Batch,
        images: Batch | PackedStates,
        score: Score,
        pairs_at_once: int,
        pairs: Pairs | None = None,
    ) -> Tensor:
        """Return ``score`` of the fused vector of every caption with every image (N, M), or of ``pairs`` only (n,)."""
        image = images if isinstance(images, PackedStates) else self.encode_images(images)
        text = self.encode_texts(captions)
        image = PackedStates(image.states.to(text.states.dtype), image.packing)  # may be from another precision
        n, m = text.packing.num_sequences, image.packing.num_sequences
        c, i = np.divmod(np.arange(n * m), m) if pairs is None else pairs.T
        scores = [text.states.new_zeros(0, dtype=torch.float32)]
        with self._autocast(image.states):
            for block in (slice(start, start + pairs_at_once) for start in range(0, len(c), pairs_at_once)):
                scores.append(score(self.trunk.cross_encode(text.select(c[block]), image.select(i[block]))))
        return torch.cat(scores).view(n, m) if pairs is None else torch.cat(scores)  # (N * M,) -> (N, M)

    def _pretraining_heads(self) -> PretrainingHeads:
        if self.pretraining is None:
            raise TwelvefoldError("this model has no pretraining heads: its config has num_region_categories = 0")
        return self.pretraining

    def _drop_modality(self, batch: Batch) -> Batch:
        """Return the batch without the inputs that the configuration's ``modality`` excludes."""
        if self.config.modality == "image":  # keep only [CLS]
            return batch.with_first_tokens()
        if self.config.modality == "text":  # zero the regions, and keep only IMG unless a region is to be chosen
            if not load_family(self._task(batch.task).family).chooses_region:
                batch = batch.with_first_regions()
            features, locations = torch.zeros_like(batch.features), torch.zeros_like(batch.locations)
            return dataclasses.replace(batch, features=features, locations=locations)
        return batch

    def _autocast(self, like: Tensor) -> torch.autocast:
        device = like.device.type
        bf16 = self.precision == "bf16" or (self.precision == "auto" and has_fast_bf16(device))
        return torch.autocast(device, dtype=torch.bfloat16, enabled=bf16)

    def _task(self, name: str) -> TaskSpec:
        if name not in self.tasks:
            raise TwelvefoldError(
                f"this model has no task {name!r}; it has {', '.join(self.tasks)}{did_you_mean(name, self.tasks)}"
            )
        return self.tasks[name]

    def _checked_task(self, batch: Batch) -> TaskSpec:
        """Return the batch's task.

        Raises:
            TwelvefoldError: the model has no such task, or the batch's pairs do not make whole examples of it.
        """
        task = self._task(batch.task)
        if torch.compiler.is_exporting():  # a size that is read here would become a constant of the exported graph
            return task
        texts, images = len(batch.token_ids), len(batch.region_mask)
        if texts != images:
            raise TwelvefoldError(f"task {task.name!r}: a batch needs an image for each text, got {images} for {texts}")
        kind, pairs = load_family(task.family).head_kind, batch.pairs_per_example
        if kind == "classifier" and pairs != task.pairs_per_example:
            raise TwelvefoldError(
                f"task {task.name!r} has {task.pairs_per_example} pairs per example, but the batch has {pairs}"
            )
        if texts % pairs:
            raise TwelvefoldError(
                f"task {task.name!r}: {texts} image-text pairs can't be divided into examples of {pairs} pairs; "
                "give each example all its pairs"
            )
        return task

    def _check_head(self, task: TaskSpec) -> None:
        spec = self.head_specs.get(task.head)
        if spec is None:
            raise TwelvefoldError(
                f"task {task.name!r} needs head {task.head!r}, but the model's heads are {', '.join(self.head_specs)}"
            )
        if spec.family != task.family:
            raise TwelvefoldError(
                f"task {task.name!r} is of family {task.family}, but its head {spec.name!r} is of family {spec.family}"
            )
        if load_family(spec.family).head_kind == "classifier" and spec.pairs_per_example != task.pairs_per_example:
            raise TwelvefoldError(
                f"task {task.name!r} has {task.pairs_per_example} pairs per example, but its head "
                f"{spec.name!r} reads {spec.pairs_per_example}"
            )

    def _task_index(self, name: str) -> int:
        """Return the row of a task's token in the embedding; 0, which is not read, if there are no task tokens."""
        if not self.task_tokens:
            return 0
        task = self._task(name)
        return self.task_tokens.index({"group": task.family, "head": task.head}.get(self.config.task_token, name))

    def _init_weights(self) -> None:
        """Draw new weights as the configuration says: linear and embedding weights normal, biases 0, norms 1."""
        config = self.config
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                fan_in = math.sqrt(module.in_features) if config.init == "fan_in" else 1.0
                scale = config.residual_scale if name.endswith((".out_proj", ".fc2")) else 1.0
                nn.init.normal_(module.weight, std=scale * config.init_scale / fan_in)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                fan_in = math.sqrt(module.embedding_dim) if config.init == "fan_in" else 1.0
                nn.init.normal_(module.weight, std=config.init_scale / fan_in)
        for spec in self.head_specs.values():
            bias = self.get_parameter(f"{head_module_path(spec.name)}.last.bias")
            nn.init.constant_(bias, load_family(spec.family).initial_bias(config))


def has_fast_bf16(device: str) -> bool:
    """Return whether a device type has matrix instructions for bfloat16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = torch.cpu.get_capabilities()
    return device == "cpu" and bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16") or cpu.get("bf16"))


def _checked_word_pieces(word_pieces: Sequence[int], vocab_size: int) -> tuple[int, ...]:
    outside = [piece for piece in word_pieces if not 0 <= piece < vocab_size]
    if outside:
        raise TwelvefoldError(
            f"word pieces {outside[:5]} are outside the vocabulary, whose ids are 0 to {vocab_size - 1}"
        )
    if len(set(word_pieces)) != len(word_pieces):
        raise TwelvefoldError("word_pieces contains an id twice; name each word piece once")
    return tuple(word_pieces)


def head_module_path(head: str) -> str:
    """Return the path of a head's module in the model, with which the names of its tensors begin."""
    return f"heads.{_module_key(head)}"


def _module_key(name: str) -> str:
    """Return a head's name as a key of ``nn.ModuleDict``, which takes no dots."""
    return name.replace(".", "/")


def _by_name(specs: Iterable[Spec], kind: str) -> dict[str, Spec]:
    by_name: dict[str, Spec] = {}
    for spec in specs:
        if not re.fullmatch(r"[\w+.\-]+", spec.name):
            raise TwelvefoldError(f"a {kind}'s name may have letters, digits and _ + - . only, got {spec.name!r}")
        if spec.name in by_name:
            raise TwelvefoldError(f"two {kind}s are called {spec.name!r}; give each its own name")
        by_name[spec.name] = spec
    return by_name
