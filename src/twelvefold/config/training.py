"""How a recipe trains: its table ``[training]``."""

from __future__ import annotations

from typing import Literal

import msgspec

from twelvefold.config.tables import (
    Decay,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StrictStruct,
)

LrScheduleName = Literal["linear", "constant", "step"]


class TrainingConfig(StrictStruct, frozen=True, kw_only=True):
    """How one model learns the tasks together. Paper: section 3.3."""

    iterations: NonNegativeInt = 0
    """Rounds over all tasks; 0: as many as the ``epochs`` of the longest task take, the paper's N."""
    lr_factor: PositiveFloat = 1.0
    """Factor on every task's lr: a small model trained from scratch needs a larger lr, in the same proportions."""
    loss_scaling: bool = True
    """Scale a task's loss by its lr over the smallest lr of all tasks; false: do not scale losses."""
    warmup_fraction: Fraction = 0.1
    """The lr rises linearly over this fraction of the iterations that ``warmup_fraction_of`` names, the paper's eta."""
    warmup_fraction_of: Literal["longest_task", "iterations"] = "longest_task"
    """longest_task: of the paper's N, the iterations that all epochs of the longest task take, however many
    ``iterations`` the run has; iterations: of the run's own."""
    lr_schedule: LrScheduleName = "linear"
    """After the warm-up the lr falls linearly to 0, as with the original's command (linear), or stays (constant), so
    that a run can be trained for longer as if it had been planned that long; step: two drops at fixed epochs, the
    default of the original code and only with its ``optimization``."""
    optimization: Literal["paper", "vilbert_mt"] = "paper"
    """How weights are updated and tasks stop and go: as the paper describes, or exactly as the original code, with a
    learning rate of their own for five heads and zero gradients for idle ones (training/vilbert_mt.py lists all)."""
    weight_decay: NonNegativeFloat = 0.01
    adam_beta1: Decay = 0.9
    adam_beta2: Decay = 0.999
    adam_eps: PositiveFloat = 1e-6
    max_grad_norm: NonNegativeFloat = 0.0
    """Norm to which the gradient of a step is clipped; 0: no clipping, as in the original code."""
    gradient_accumulation_steps: PositiveInt = 1
    """Micro-batches into which a process splits its share of a batch to save memory; the update stays the same."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Precision of the linear layers; auto: bf16 where the hardware multiplies it fast. Weights and sums stay fp32."""
    word_pieces: Literal["all", "seen"] = "all"
    """Word pieces that get an embedding; seen: only those of the training texts, for a small language from scratch."""
    stop_and_go: bool = True
    """Dynamic stop-and-go (Algorithm 1); false: every task steps in every iteration."""
    stop_and_go_rule: Literal["paper", "original_cooldown"] = "paper"
    """When a task stops and goes: by the paper's rule, or with the cool-down of the original code, which
    ``optimization = "vilbert_mt"`` sets."""
    stop_and_go_gap: PositiveInt = 4
    """A stopped task steps once in this many iterations, the paper's iter-gap (Delta)."""
    stop_and_go_start_fraction: Fraction = 0.0
    """Fraction of all iterations before stop-and-go starts; the paper's is 0. The scores of a model trained from
    scratch stay at chance for a while, which is not convergence."""
    grounding_loss: Literal["sigmoid", "softmax"] = "sigmoid"
    """sigmoid: binary cross-entropy for each region, as in the original code; softmax: over all regions."""
    initial_alignment: bool = False
    """Initialize a model that starts from scratch so that words attend to the regions which the grounding tasks'
    training examples say they describe (training/initial_alignment.py); false: random."""
    curriculum: Literal["none", "easy_first", "hard_first"] = "none"
    """easy_first: train only the grounding tasks (G3) at first; hard_first: only question answering (G1)."""
    curriculum_fraction: Fraction = 0.1
    """Fraction of all iterations in which only the curriculum's first group is trained."""
    evaluations_per_epoch: PositiveInt = 1
    """Validations per task epoch on which stop-and-go decides; the paper's is 1."""
    eval_interval: NonNegativeInt = 0
    """Also validate all tasks every this many iterations, for monitoring; stop-and-go ignores these. 0: never."""
    validation_examples: NonNegativeInt = 500
    """Examples of a task in each validation, evenly spaced over the split; 0: all."""
    checkpoint_interval: PositiveInt = 100
    """Iterations between checkpoints."""
    keep_last: NonNegativeInt = 0
    """Older checkpoints to keep in addition to latest and best."""
    processes: PositiveInt = 1
    """Data-parallel processes: one thread each on CPUs, one GPU each on GPUs."""
    reduce_dtype: Literal["fp32", "bf16"] = "fp32"
    """Format in which processes exchange gradients; bf16: half the bytes, and the sums are rounded to 8 bits."""
    activation_checkpointing: bool = False
    """Compute the activations of layers again in the backward pass instead of storing them: less memory, about a third
    more time, the same update."""
    num_workers: NonNegativeInt = 0
    """Processes per rank that make batches ahead of time, to keep a GPU busy; 0: make them in the training process."""
    device: str = "auto"
    """cpu, cuda, cuda:1 or another device of PyTorch; auto: a GPU if there is one."""
    tensorboard: bool = True
    """Also write TensorBoard files, if TensorBoard is installed."""

    def __post_init__(self) -> None:
        if self.optimization == "vilbert_mt":
            msgspec.structs.force_setattr(self, "stop_and_go_rule", "original_cooldown")
