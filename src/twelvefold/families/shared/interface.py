"""The interface of a task family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.config.model import ModelConfig
from twelvefold.config.training import TrainingConfig
from twelvefold.schema import Example, ExamplePrediction, HeadSpec, Label, Ranked, TaskForm

HeadKind = Literal["classifier", "pair_score", "region_score"]
"""Building block of a family's heads (:mod:`twelvefold.model.heads`), and the shape of its logits.

``classifier`` (B, A): one logit for each output, from the fused vectors of the example's K pairs (Eqs. 1, 4).
``pair_score`` (B, K): one logit for each pair, from its fused vector (Eq. 2).
``region_score`` (P, R): one logit for each region, from its final state (Eq. 3).
"""


class Family(ABC):
    """Everything that is particular to a task family. B, K, P, R and A are the letters of :mod:`twelvefold.schema`."""

    group: ClassVar[str]
    """Code of the task group of section 2.1, such as ``G1``."""
    title: ClassVar[str]
    text_label: ClassVar[str]
    """What the report calls a text of the family, such as ``Question``."""
    form: ClassVar[TaskForm | None] = None
    """How the page asks for a text of the family; None: by ``title`` and ``text_label``."""
    head_kind: ClassVar[HeadKind]
    """Kind of head, which decides the shape of the logits."""
    logits_description: ClassVar[str]
    """Shape and meaning of the logits, for users of an exported model."""
    independent: ClassVar[bool] = False
    """Each output has a probability of its own (sigmoid); else they sum to one (softmax)."""
    chooses_region: ClassVar[bool] = False
    """An answer is a box: one of the candidate boxes, or of the detected regions. The head is a ``region_score``."""
    searches_images: ClassVar[bool] = False
    """An example is a caption whose image is to be found: by 4-way multiple choice in training and validation, in a
    pool of images in evaluation and serving."""
    chooses_text: ClassVar[bool] = False
    """An answer is a text: the K pairs of an example have one image and K texts, and outputs are named by the text's
    index (``"0"`` is the first). The head is a ``pair_score``."""
    first_in_curriculum: ClassVar[Literal["none", "easy_first", "hard_first"]] = "none"
    """The curriculum that starts with this family."""
    is_slow: ClassVar[bool] = False
    """``evaluate`` starts with the slow tasks, so that processes finish at about the same time."""

    @property
    def name(self) -> str:
        """The family's name, which is that of its module."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def target(
        self, examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
    ) -> NDArray[Any] | None:
        """Return the target that :meth:`loss` and :meth:`score` compare with logits; None if labels are withheld."""

    @abstractmethod
    def loss(self, logits: Tensor, batch: Batch, config: TrainingConfig | None = None) -> Tensor:
        """Return a scalar, before the task's loss scaling. ``config``: the recipe's, for families with options."""

    @abstractmethod
    def score(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return a score in 0..1 for each example: (B,) float32."""

    @abstractmethod
    def decode(
        self, logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0
    ) -> list[ExamplePrediction]:
        """Return a prediction for each example with its ``top`` most probable outputs, most probable first."""

    @abstractmethod
    def chance(self, batch: Batch, head: HeadSpec) -> list[float]:
        """Return the expected score of a uniform guess for each example of a batch; empty if labels are withheld."""

    def chance_probability(self, num_options: int) -> float:
        """Return the probability of an answer of which nothing is known.

        It is 0 for an answer from a long list, each judged separately; 1 / n for n classes, one of which is true; and
        1 / (n + 1) for n boxes, images or texts, since the right one may not be among them.
        """
        if self.independent:
            return 0.0
        return 1 / num_options if self.head_kind == "classifier" else 1 / (num_options + 1)

    def mask_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the logits in float32, with minus infinity for outputs that can't be chosen."""
        return logits.float()

    def initial_bias(self, config: ModelConfig) -> float:
        """Return the initial bias of a head's last layer."""
        return 0.0

    def votes(self, label: Label, head: HeadSpec) -> Iterable[tuple[int, float]]:
        """Yield (output index, weight) for each output that a training label votes for in the majority baseline."""
        return ()

    def constant_logits(self, index: int, batch: Batch, head: HeadSpec) -> Tensor:
        """Return logits that choose the output ``index`` for every example."""
        num_outputs = len(head.outputs) or batch.pairs_per_example
        logits = torch.zeros(len(batch.example_ids), num_outputs)
        logits[:, index] = 1.0
        return logits

    def extra_metrics(
        self, examples: Sequence[Example], best: Sequence[Ranked | None], scores: Sequence[float | None]
    ) -> dict[str, float]:
        """Return metrics of a whole test set, in 0..1, besides the mean score.

        ``best``: the most probable output of each example, None if there is none. ``scores``: None where withheld.
        """
        return {}

    def num_ranked(self, label: Label | None) -> int:
        """Return the number of outputs that predictions of a test set with such labels keep."""
        return 5

    def ranked_metrics(self, examples: Sequence[Example], ranked: Sequence[Sequence[Ranked]]) -> dict[str, float]:
        """Return more metrics of a whole test set, in 0..1, from the ``num_ranked`` best outputs of each example."""
        return {}

    def limitations(self, examples: Sequence[Example], scores: Sequence[float | None]) -> list[str]:
        """Return sentences about what :meth:`extra_metrics` left out of these examples."""
        return []
