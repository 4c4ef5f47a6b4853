"""The whole model: one trunk, a head per group of tasks that share one, the row of each task's token by name."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.config.model import ModelConfig
from twelvefold.model import save_load
from twelvefold.model.attention import Look
from twelvefold.model.heads import Score, head
from twelvefold.model.pretraining import Pretraining, PretrainingLogits
from twelvefold.model.trunk import Trunk
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError, did_you_mean

Precision = Literal["auto", "fp32", "bf16"]
"""Of the linear layers. ``auto``: bfloat16 where the machine multiplies it faster than float32. On a CPU that
doesn't, it is more than ten times slower (measured), so ask for ``bf16`` only where you know the machine."""

Spec = TypeVar("Spec", TaskSpec, HeadSpec)


class ImageStream(NamedTuple):
    """Pictures read alone: ``states`` (M, R, W_i) and the mask of real rows (M, R)."""

    states: Tensor
    mask: Tensor


class Model(nn.Module):
    """A batch in, the logits of its own head out; nothing that they don't depend on is computed.

    ``tasks`` and ``head_specs`` hold what the model knows by name; ``task_tokens`` names the rows of the task
    embedding in order. ``precision`` may be changed at any time: with ``bf16`` the linear layers compute in
    bfloat16, while weights, residual streams and logits stay float32. ``word_pieces``: the word pieces that have
    a row of their own, the first standing for all others ([UNK]); empty where all have.
    """

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
        """``task_tokens``: the rows, where their order matters (a file's); else made from the tasks.

        Raises:
            TwelvefoldError: a task's head is missing or of another family or K; a name or word piece is used
                twice, or a word piece is not in the vocabulary.
        """
        super().__init__()
        self.config = config
        self.tasks = _by_name(tasks, "task")
        self.head_specs = _by_name(heads, "head")
        self.precision: Precision = precision
        for task in tasks:
            self._check(task)
        self.task_tokens = tuple(task_tokens) or self._rows()
        self.word_pieces = _pieces(word_pieces, config.vocabulary_size)
        self.trunk = Trunk(config, len(self.task_tokens), self.word_pieces)
        self.heads = nn.ModuleDict({_module_name(spec.name): head(config, spec) for spec in heads})
        self.pretraining = Pretraining(config, len(self.word_pieces)) if config.region_classes else None
        self.word_score = Score(config, config.text_width) if config.word_score else None
        self._start()

    @property
    def known_pieces(self) -> Sequence[int]:
        """The word pieces with a row of their own: ``word_pieces``, or the whole vocabulary where those are none."""
        return self.word_pieces or range(self.config.vocabulary_size)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, float32: answers and verification (B, A), retrieval (B, K), grounding (P, R).

        Raises:
            TwelvefoldError: the batch's task is not among the model's, or its shapes don't fit.
        """
        task = self._task(batch.task)
        row = self._row(task)
        module = self.heads[_module_name(task.head)]
        batch = self._hidden(batch)
        with self._arithmetic(batch.features):
            if task.family == "grounding":
                logits: Tensor = module(self.trunk.regions(batch, row))
            elif task.family == "retrieval":
                logits = module(self.trunk.fused(batch, row)).view(-1, batch.pairs_per_example)
            else:
                logits = module(self.trunk.fused(batch, row))
        return logits

    def read_images(self, images: Batch) -> ImageStream:
        """The image stream before it meets any text: what :meth:`alignments` may take again and again."""
        images = self._hidden(images)
        with self._arithmetic(images.features):
            states = self.trunk.read_image(images.features, images.locations, images.region_mask)
        return ImageStream(states, images.region_mask)

    def alignments(self, captions: Batch, images: Batch | ImageStream, pairs_at_once: int = 1024) -> Tensor:
        """(N, M) float32: Rel(I, Q) of every caption of one batch with every image of another. Each side is read
        alone only once; then ``pairs_at_once`` bounds the memory. Paper: Eq. 2."""
        task = self._task(captions.task)
        if task.family != "retrieval":
            raise TwelvefoldError(f"task {task.name!r} is of family {task.family}; only retrieval tasks align")
        score = self.heads[_module_name(task.head)]
        return self._all_pairs(captions, images, self._row(task), score, pairs_at_once)

    def zero_shot_alignments(self, captions: Batch, images: Batch, pairs_at_once: int = 1024) -> Tensor:
        """:meth:`alignments` by the pretraining head, which no retrieval task has trained: how much more probable it
        is that caption and image belong together than not, as the difference of the two logits.

        Raises:
            TwelvefoldError: this model has no pretraining heads.
        """
        heads = self._pretraining_heads()

        def score(fused: Tensor) -> Tensor:
            two = heads.align(fused)
            return two[:, 0] - two[:, 1]

        return self._all_pairs(captions, images, self._row_of(captions.task), score, pairs_at_once)

    def explained(self, batch: Batch) -> tuple[Tensor, list[Look]]:
        """What :meth:`forward` gives, and where words and regions looked at each other, a Look for each block.

        Rows are those of the trunk: of words, the task token among them; of regions, the batch's. For a model in
        evaluation mode.
        """
        task, looks = self._task(batch.task), list[Look]()
        batch = self._hidden(batch)
        with self._arithmetic(batch.features):
            output: TrunkOutput = self.trunk(batch, self._row(task), looks)
            states = output.regions if task.family == "grounding" else output.fused
            logits: Tensor = self.heads[_module_name(task.head)](states)
        return (logits.view(-1, batch.pairs_per_example) if task.family == "retrieval" else logits), looks

    def streams(self, batch: Batch) -> TrunkOutput:
        """Both streams of a batch, whole, with the pooled and fused vectors: what every head reads."""
        batch = self._hidden(batch)
        with self._arithmetic(batch.features):
            output: TrunkOutput = self.trunk(batch, self._row_of(batch.task))
        return output

    def pretraining_logits(
        self, batch: Batch, words_at: Tensor | None = None, regions_at: Tensor | None = None
    ) -> PretrainingLogits:
        """What the pretraining heads say of a batch, of any task that has a task token, of any at all without; of all
        words and regions, or of those at ``words_at`` (P, L) and ``regions_at`` (P, R) bool.

        Raises:
            TwelvefoldError: this model has no pretraining heads.
        """
        heads = self._pretraining_heads()
        if words_at is not None and self.task_tokens:  # the task's own row comes second, and is no word
            words_at = torch.cat([words_at[:, :1], torch.zeros_like(words_at[:, :1]), words_at[:, 1:]], dim=1)
        batch = self._hidden(batch)
        with self._arithmetic(batch.features):
            seen = self.trunk(batch, self._row_of(batch.task))
            logits: PretrainingLogits = heads(seen, self.trunk.text_embeddings.words.weight, words_at, regions_at)
        return logits

    def word_scores(self, batch: Batch) -> Tensor:
        """(P, L') float32: one number for every row of the text stream.

        Raises:
            TwelvefoldError: this model has no such head.
        """
        if self.word_score is None:
            raise TwelvefoldError("this model has no head that scores words; its word_score is off")
        scores: Tensor = self.word_score(self.streams(batch).text)
        return scores

    def save(self, folder: Path) -> None:
        """Leave ``model.safetensors`` and ``model.json`` in a folder; :meth:`load` makes the same model of them."""
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
        """The model of a folder, in evaluation mode.

        Raises:
            TwelvefoldError: a file is missing or broken, or its tensors are not the model's, name by name.
        """
        said = save_load.describe(folder)
        with torch.device("meta"):
            model = cls(
                said.config,
                said.tasks,
                said.heads,
                precision=precision,
                task_tokens=said.task_tokens,
                word_pieces=said.word_pieces,
            )
        tensors = save_load.read(folder, model.state_dict())
        model.load_state_dict(tensors, assign=True)
        return model.eval()

    def _all_pairs(
        self,
        captions: Batch,
        images: Batch | ImageStream,
        row: int,
        score: Callable[[Tensor], Tensor],
        pairs_at_once: int,
    ) -> Tensor:
        """(N, M): ``score`` of the fused vector of every caption with every image."""
        captions = self._hidden(captions)
        image, image_mask = images if isinstance(images, ImageStream) else self.read_images(images)
        n, m = len(captions.token_ids), len(image)
        scores: list[Tensor] = []
        with self._arithmetic(image):
            text, mask = self.trunk.read_text(captions.token_ids, captions.token_mask, row)
            for part in torch.split(torch.arange(n * m, device=text.device), pairs_at_once):
                c, i = part // m, part % m
                fused = self.trunk.join(text[c], mask[c], image[i], image_mask[i])
                scores.append(score(fused))
        return torch.cat(scores).view(n, m)

    def _pretraining_heads(self) -> Pretraining:
        if self.pretraining is None:
            raise TwelvefoldError("this model has no pretraining heads; its region_classes is 0")
        return self.pretraining

    def _hidden(self, batch: Batch) -> Batch:
        """The batch without the side that the model may not see."""
        if self.config.sees == "image":  # of the text [CLS] alone is left
            return dataclasses.replace(batch, token_ids=batch.token_ids[:, :1], token_mask=batch.token_mask[:, :1])
        if self.config.sees == "text":  # regions without look and place, and where none is to be chosen not even those
            rows = None if self._task(batch.task).family == "grounding" else 1
            return dataclasses.replace(
                batch,
                features=torch.zeros_like(batch.features[:, :rows]),
                locations=torch.zeros_like(batch.locations[:, :rows]),
                region_mask=batch.region_mask[:, :rows],
            )
        return batch

    def _arithmetic(self, like: Tensor) -> torch.autocast:
        half = self.precision == "bf16" or (self.precision == "auto" and _is_quick_in_half(like.device.type))
        return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=half)

    def _task(self, name: str) -> TaskSpec:
        if name not in self.tasks:
            raise TwelvefoldError(
                f"this model knows no task {name!r}; it knows {', '.join(self.tasks)}{did_you_mean(name, self.tasks)}"
            )
        return self.tasks[name]

    def _check(self, task: TaskSpec) -> None:
        spec = self.head_specs.get(task.head)
        if spec is None:
            raise TwelvefoldError(
                f"task {task.name!r} wants head {task.head!r}, but the model's are {', '.join(self.head_specs)}"
            )
        if spec.family != task.family:
            raise TwelvefoldError(
                f"task {task.name!r} is of family {task.family}, but its head {spec.name!r} of {spec.family}"
            )
        if spec.family in ("answers", "verification") and spec.pairs_per_example != task.pairs_per_example:
            raise TwelvefoldError(
                f"task {task.name!r} has {task.pairs_per_example} pairs per example, but its head "
                f"{spec.name!r} reads {spec.pairs_per_example}"
            )

    def _rows(self) -> tuple[str, ...]:
        """The task embedding's rows: a row per dataset or per head, in the order given."""
        return {"dataset": (*self.tasks,), "head": (*self.head_specs,), "none": ()}[self.config.task_token]

    def _row(self, task: TaskSpec) -> int:
        """The task's row; 0, which is not read, where there are none."""
        name = {"dataset": task.name, "head": task.head, "none": ""}[self.config.task_token]
        return self.task_tokens.index(name) if name else 0

    def _row_of(self, name: str) -> int:
        """The row of a task by name, or of none where the model has no task tokens."""
        return self._row(self._task(name)) if self.task_tokens else 0

    def _start(self) -> None:
        """Draw the first weights, as the configuration says (biases 0, norms 1)."""
        config = self.config
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                fan = math.sqrt(module.in_features) if config.init == "fan_in" else 1.0
                scale = config.residual_scale if name.endswith(".out") else 1.0
                nn.init.normal_(module.weight, std=scale * config.init_scale / fan)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                fan = math.sqrt(module.embedding_dim) if config.init == "fan_in" else 1.0
                nn.init.normal_(module.weight, std=config.init_scale / fan)
        starts = {"answers": config.answer_bias, "grounding": config.region_bias}
        for spec in self.head_specs.values():
            bias = self.get_parameter(f"{module_of(spec.name)}.last.bias")
            nn.init.constant_(bias, starts.get(spec.family, 0.0))


def _is_quick_in_half(device: str) -> bool:
    """Whether a machine has instructions for products of bfloat16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = torch.cpu.get_capabilities()
    return device == "cpu" and bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16") or cpu.get("bf16"))


def _pieces(word_pieces: Sequence[int], vocabulary_size: int) -> tuple[int, ...]:
    outside = [piece for piece in word_pieces if not 0 <= piece < vocabulary_size]
    if outside:
        raise TwelvefoldError(f"word pieces {outside[:5]} are not among the vocabulary's 0 to {vocabulary_size - 1}")
    if len(set(word_pieces)) != len(word_pieces):
        raise TwelvefoldError("word pieces that have a row of their own are named twice; name each once")
    return tuple(word_pieces)


def module_of(head: str) -> str:
    """The module of a head: what the names of its tensors begin with."""
    return f"heads.{_module_name(head)}"


def _module_name(name: str) -> str:
    """A head's name as a key of ``nn.ModuleDict``, which takes no dots."""
    return name.replace(".", "/")


def _by_name(specs: Iterable[Spec], what: str) -> dict[str, Spec]:
    found: dict[str, Spec] = {}
    for spec in specs:
        if not re.fullmatch(r"[\w+.\-]+", spec.name):
            raise TwelvefoldError(f"a {what}'s name is letters, digits and _ + - . only, got {spec.name!r}")
        if spec.name in found:
            raise TwelvefoldError(f"two {what}s are called {spec.name!r}; give each its own name")
        found[spec.name] = spec
    return found
