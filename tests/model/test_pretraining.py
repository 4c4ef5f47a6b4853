"""Pretraining losses worked out by hand, losses of parts of a batch, zero-shot alignment."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from twelvefold.batch import Batch, MaskedBatch
from twelvefold.model import Model, preset
from twelvefold.model.pretraining import PretrainingLogits, accuracies, loss
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError

P, L, R, D, C, V = 6, 5, 4, 8, 3, 40
PIECES = (100, 0, 101, 102, 103, *range(1000, 1030))


def masked(**changes: Any) -> MaskedBatch:
    random = torch.Generator().manual_seed(0)
    predict_tokens, predict_regions = torch.zeros(P, L, dtype=torch.bool), torch.zeros(P, R, dtype=torch.bool)
    predict_tokens[0, 1] = predict_tokens[2, 3] = predict_tokens[5, 2] = True
    predict_regions[1, 2] = predict_regions[3, 1] = True
    fields: dict[str, Any] = {
        "task": "captions",
        "pairs_per_example": 1,
        "example_ids": [str(n) for n in range(P)],
        "token_ids": torch.randint(1000, 1030, (P, L), generator=random),
        "token_mask": torch.ones(P, L, dtype=torch.bool),
        "features": torch.randn(P, R, D, generator=random),
        "boxes_px": torch.zeros(P, R, 4),
        "locations": torch.rand(P, R, 5, generator=random),
        "region_mask": torch.ones(P, R, dtype=torch.bool),
        "candidate_mask": torch.zeros(P, R, dtype=torch.bool),
        "target": torch.tensor([0, 0, 0, 0, 1, 0]),
        "predict_tokens": predict_tokens,
        "predict_regions": predict_regions,
        "token_labels": torch.tensor([1003, 1001, 1002]),
        "region_labels": torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]),
        "whole_batch_counts": (P, 3, 2),
    }
    return MaskedBatch(**fields | changes)


def part(batch: MaskedBatch, first: int, last: int) -> MaskedBatch:
    """Rows first to last of a batch, as a rank would have them."""
    fields = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    cut = {n: v[first:last] if isinstance(v, Tensor) or n == "example_ids" else v for n, v in fields.items()}
    words = batch.token_labels[int(batch.predict_tokens[:first].sum()) : int(batch.predict_tokens[:last].sum())]
    kinds = batch.region_labels[int(batch.predict_regions[:first].sum()) : int(batch.predict_regions[:last].sum())]
    at: dict[str, Any] = {
        "predict_tokens": batch.predict_tokens[first:last],
        "predict_regions": batch.predict_regions[first:last],
    }
    return MaskedBatch(
        **cut, **at, token_labels=words, region_labels=kinds, whole_batch_counts=batch.whole_batch_counts
    )


def model(*, tasks: bool = False, **changes: str) -> Model:
    torch.manual_seed(0)
    spec = TaskSpec("captions", "", "retrieval", "retrieval", "recall_at_1", 9, 4, 1e-4)
    sizes = {
        "feature_size": D,
        "vocab_size": 2000,
        "num_region_categories": C,
        "max_position_embeddings": 16,
        "dropout": 0.0,
    }
    head = HeadSpec("retrieval", "retrieval")
    return Model(
        preset("small", **sizes | changes), [spec] if tasks else [], [head] if tasks else [], word_pieces=PIECES
    ).eval()


def token_rows(net: Model, batch: MaskedBatch) -> Tensor:
    return net.trunk.text_embeddings.token_to_row[batch.token_labels]


def whole_loss(net: Model, batch: MaskedBatch, **options: float) -> Tensor:
    return loss(
        net.pretraining_logits(batch, batch.predict_tokens, batch.predict_regions),
        batch,
        token_rows(net, batch),
        **options,
    )


def test_the_loss_equals_the_one_worked_out_by_hand() -> None:
    batch = masked()
    logits = PretrainingLogits(
        tokens=torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.1, 0.8, 0.1]])),
        regions=torch.log(torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]])),
        alignment=torch.log(torch.tensor([[0.75, 0.25]] * P)),
    )
    words = -(math.log(0.5) + math.log(0.5) + math.log(0.1)) / 3  # the right ones are columns 0, 2, 0
    regions = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.5) + math.log(1 / 0.5)) / 2  # KL(detector || model)
    aligned = -(5 * math.log(0.75) + math.log(0.25)) / 6
    rows = torch.tensor([0, 2, 0])
    assert loss(logits, batch, rows).item() == pytest.approx(words + regions + aligned, rel=1e-5)
    assert loss(logits, batch, rows, region_weight=3.0).item() == pytest.approx(words + 3 * regions + aligned, rel=1e-5)
    correct = [x.tolist() for x in accuracies(logits, batch, rows)]
    assert correct == [[1, 1, 0], [0, 1], [1, 1, 1, 1, 0, 1]]


def test_ties_count_as_wrong() -> None:
    flat = PretrainingLogits(torch.zeros(3, 4), torch.zeros(2, C), torch.zeros(P, 2))
    assert [x.sum().item() for x in accuracies(flat, masked(), torch.tensor([0, 1, 2]))] == [0, 0, 0]


def test_losses_and_gradients_of_parts_sum_to_those_of_the_batch() -> None:
    batch, net = masked(), model()
    expected = whole_loss(net, batch)
    expected.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    parts = [
        part(batch, 0, 1),
        part(batch, 1, 4),
        part(batch, 4, 6),
    ]  # the first has no region to predict, the last one token
    total = sum((whole_loss(net, p) * len(p.example_ids) / P for p in parts), torch.tensor(0.0))
    total.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(total, expected)
    for name, p in net.named_parameters():
        if name in gradients:
            torch.testing.assert_close(p.grad, gradients[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_batch_with_nothing_to_predict_has_a_loss() -> None:
    nothing = {
        "predict_tokens": torch.zeros(P, L, dtype=torch.bool),
        "predict_regions": torch.zeros(P, R, dtype=torch.bool),
    }
    batch = masked(
        **nothing,
        token_labels=torch.zeros(0, dtype=torch.int64),
        region_labels=torch.zeros(0, C),
        whole_batch_counts=(P, 0, 0),
    )
    net = model()
    value = whole_loss(net, batch)
    value.backward()  # type: ignore[no-untyped-call]
    assert 0 < value.item() < 3
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("trunk", ["two_stream", "single_stream"])
def test_logits_where_to_predict_are_those_of_all(tasks: bool, trunk: str) -> None:
    """With a task token, which comes second in the text, as without."""
    batch, net = masked(), model(tasks=tasks, trunk=trunk)
    all_logits = net.pretraining_logits(batch)
    some_logits = net.pretraining_logits(batch, batch.predict_tokens, batch.predict_regions)
    words = all_logits.tokens[:, [0, *range(2, L + 1)]] if tasks else all_logits.tokens
    torch.testing.assert_close(some_logits.tokens, words[batch.predict_tokens])
    torch.testing.assert_close(some_logits.regions, all_logits.regions[batch.predict_regions])
    torch.testing.assert_close(some_logits.alignment, all_logits.alignment)
    assert some_logits.tokens.shape == (3, len(PIECES))


def test_zero_shot_alignments_equal_the_alignment_head_of_each_pair() -> None:
    batch, net = masked(), model()
    scores = net.zero_shot_alignments(part(batch, 0, 2), batch, pairs_at_once=5)
    assert scores.shape == (2, P)
    for c in range(2):
        for i in range(P):
            fields = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
            text = {"token_ids": batch.token_ids[[c]], "token_mask": batch.token_mask[[c]]}
            image = {n: fields[n][[i]] for n in ("features", "boxes_px", "locations", "region_mask", "candidate_mask")}
            logits = net.pretraining_logits(Batch(**fields | text | image | {"example_ids": ["x"]})).alignment[0]
            torch.testing.assert_close(scores[c, i], logits[0] - logits[1], rtol=1e-4, atol=1e-5)


def test_a_model_without_pretraining_heads_is_refused() -> None:
    torch.manual_seed(0)
    net = Model(preset("small", feature_size=D), [], [])
    for call in (lambda: net.pretraining_logits(masked()), lambda: net.zero_shot_alignments(masked(), masked())):
        with pytest.raises(TwelvefoldError, match="no pretraining heads"):
            call()
