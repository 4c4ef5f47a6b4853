"""Time a training step: forward, backward and update of the package and of the plain reference, with dropout.

    python -m benchmarks.training                       # the published size: a few minutes, 10 GB
    python -m benchmarks.training --lengths real        # one case
    python -m benchmarks.training --size small

A batch of eight questions, with texts and images of full length, and of real lengths (nine words and 38 regions on
average). The package updates by the optimizer of its recipes, the reference by the original's rule. Before the clock
starts both compute the same loss without dropout. ``bf16`` where the processor has matrix instructions for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.plain_programs import LoopAdamW, loss, train_step
from benchmarks.plain_reference import PlainVilbert, copy_weights, pad_inputs
from benchmarks.side_by_side import Phase, Report, Work, argument_parser
from benchmarks.workload import LENGTHS, draw_lengths, fused_operations, make_model, random_batch, random_target

from twelvefold.batch import Batch
from twelvefold.config.training import TrainingConfig
from twelvefold.families import load_family
from twelvefold.model import Model
from twelvefold.model.model import Precision, has_fast_bf16
from twelvefold.training.build_run import TrainState
from twelvefold.training.optimizer import build_optimizer
from twelvefold.training.run_folder import Counters
from twelvefold.training.step import update
from twelvefold.training.stop_and_go import StopAndGo

TASK, BATCH_SIZE, LR = "vqav2", 8, 4e-5
UPDATE_BYTES = 7 * 4
"""Bytes that AdamW moves for each parameter: it reads weight, gradient and two averages, and writes all but the
gradient, in float32."""


def package_step(state: TrainState, batch: Batch, precision: Precision) -> Callable[[], object]:
    """Return a function that runs one step."""
    family = load_family(state.model.tasks[batch.task].family)

    def run() -> torch.Tensor:
        state.model.precision = precision
        state.optimizer.zero_grad()
        value = family.loss(state.model(batch), batch)
        torch.autograd.backward(value)
        return update(state, 0.0, value.detach())

    return run


def reference_step(model: Model, reference: PlainVilbert, optimizer: LoopAdamW, batch: Batch) -> Callable[[], object]:
    """Return a function that runs one step, after checking that the loss without dropout is the package's."""
    spec, target = model.tasks[batch.task], batch.target
    assert target is not None  # noqa: S101 - for the type checker
    inputs = pad_inputs(batch, spec.max_tokens, spec.max_regions, model.task_tokens.index(spec.name))
    with torch.inference_mode():
        model.eval(), reference.eval()
        difference = load_family(spec.family).loss(model(batch), batch) - loss(reference(inputs), spec.head, target)
        model.train(), reference.train()
    if abs(float(difference)) > 4e-6 * target.shape[1]:  # a sum over the answers
        raise SystemExit(f"the losses differ by {float(difference):.2g}: the times would be those of different work")
    return lambda: train_step(reference, optimizer, inputs, spec.head, target)


def main() -> None:
    parser = argument_parser(__doc__, rounds=3)
    parser.add_argument("--lengths", choices=LENGTHS, nargs="+", default=LENGTHS, help="cases (default: both)")
    arguments = parser.parse_args()
    report = Report("training", arguments, unit="step")
    model = make_model(arguments.size)
    reference = copy_weights(model)
    optimizer = build_optimizer(model, TrainingConfig(), LR)
    state = TrainState(model, list(model.parameters()), optimizer, StopAndGo([TASK]), Counters(steps={TASK: 0}))
    reference_optimizer = LoopAdamW(reference, LR)
    head = state.model.get_submodule(f"heads.{model.tasks[TASK].head}")
    trained = sum(p.numel() for part in (model.trunk, head) for p in part.parameters())
    for number, lengths in enumerate(arguments.lengths):
        pairs = draw_lengths(lengths, BATCH_SIZE, model.tasks[TASK].max_tokens, np.random.default_rng(0))
        batch = random_batch(model, TASK, pairs)
        batch.target = random_target(model, batch)
        if number == 0:
            plain = reference_step(model, reference, reference_optimizer, batch)
        operations, update_phase = 3.0 * fused_operations(model.config, batch), Phase(0.0, UPDATE_BYTES * trained)
        works = [
            Work("plain reference", plain),
            Work("twelvefold", package_step(state, batch, "fp32"), phases=(Phase(operations), update_phase)),
        ]
        if has_fast_bf16("cpu"):
            phases = Phase(operations, precision="bf16"), update_phase
            works.append(Work("twelvefold, bf16", package_step(state, batch, "bf16"), phases=phases))
        report.add(f"{lengths} lengths, batch {BATCH_SIZE}", works)
    report.write()


if __name__ == "__main__":
    main()
