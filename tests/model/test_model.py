"""Properties of a model of any size and trunk: padding, order and batch size change no answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from twelvefold import families
from twelvefold.batch import Batch
from twelvefold.model import Model, ModelConfig, preset
from twelvefold.model.packing import Packing
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError

WORDS, FEATURES = 50, 12


def task(name: str, family: str, head: str, pairs: int = 1) -> TaskSpec:
    return TaskSpec(name, name, family, head, "accuracy", 20, 64, 1e-3, pairs_per_example=pairs)


TASKS = [
    task("vqav2", "answers", "vqa"),
    task("vgqa", "answers", "vqa"),
    task("coco", "retrieval", "alignment", 4),
    task("refcoco+", "grounding", "grounding"),
    task("nlvr2", "verification", "nlvr2", 2),
    task("mine.of.snli", "verification", "mine.of.snli"),
]
HEADS = [
    HeadSpec("vqa", "answers", ("yes", "no", "red", "two")),
    HeadSpec("alignment", "retrieval", (), 4),
    HeadSpec("grounding", "grounding"),
    HeadSpec("nlvr2", "verification", ("False", "True"), 2),
    HeadSpec("mine.of.snli", "verification", ("contradiction", "neutral", "entailment")),
]
NAMES = [t.name for t in TASKS]
TRUNK = pytest.mark.parametrize("trunk", ["two_stream", "single_stream"])


def config(**changes: object) -> ModelConfig:
    sizes = {
        "vocab_size": WORDS, "feature_size": FEATURES, "text_hidden_size": 16, "image_hidden_size": 24,
        "bi_hidden_size": 20, "text_attention_heads": 2, "image_attention_heads": 4, "bi_attention_heads": 5,
        "text_ffn_dim": 32, "image_ffn_dim": 24, "head_hidden_size": 28, "num_coattention_layers": 2,
        "max_position_embeddings": 24,
    }  # fmt: skip
    return preset("small", **sizes | changes)


def model(**changes: object) -> Model:
    torch.manual_seed(0)
    return Model(config(**changes), TASKS, HEADS).eval()


def batch(name: str, size: int = 4, seed: int = 0) -> Batch:
    spec = next(t for t in TASKS if t.name == name)
    g, p = torch.Generator().manual_seed(seed), size * spec.pairs_per_example
    lengths, counts = torch.randint(2, 8, (p, 1), generator=g), torch.randint(2, 7, (p, 1), generator=g)
    region_mask = torch.arange(6) < counts
    candidates = region_mask.clone()
    candidates[:, 0] = False
    targets = {
        "answers": torch.rand(size, 4, generator=g),
        "retrieval": torch.zeros(size, dtype=torch.int64),
        "grounding": torch.rand(p, 6, 2, generator=g) * candidates[..., None],
        "verification": torch.arange(size) % 2,
    }
    return Batch(
        name,
        spec.pairs_per_example,
        [f"{name}-{i}" for i in range(size)],
        torch.randint(0, WORDS, (p, 7), generator=g),
        torch.arange(7) < lengths,
        torch.randn(p, 6, FEATURES, generator=g),
        torch.rand(p, 6, 4, generator=g) * 100,
        torch.rand(p, 6, 5, generator=g),
        region_mask,
        candidates,
        targets[spec.family],
    )


def take(b: Batch, order: Tensor) -> Batch:
    """The examples of a batch in another order."""
    rows = (order[:, None] * b.pairs_per_example + torch.arange(b.pairs_per_example)).reshape(-1)
    fields = {name: getattr(b, name)[rows] for name in TENSORS}
    return replace(b, **fields, target=None, example_ids=[b.example_ids[int(i)] for i in order])


TENSORS = ("token_ids", "token_mask", "features", "boxes_px", "locations", "region_mask", "candidate_mask")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["pre", "post"])
@TRUNK
def test_padding_changes_nothing(name: str, norm: str, trunk: str) -> None:
    m, b = model(norm=norm, trunk=trunk), batch(name)
    longer = replace(
        b,
        token_ids=F.pad(b.token_ids, (0, 5), value=7),
        token_mask=F.pad(b.token_mask, (0, 5)),
        features=F.pad(b.features, (0, 0, 0, 3), value=1e3),
        locations=F.pad(b.locations, (0, 0, 0, 3), value=5.0),
        region_mask=F.pad(b.region_mask, (0, 3)),
    )
    expected, got = m(b), m(longer)
    torch.testing.assert_close(got[:, : expected.shape[1]], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("group_numbers", [1, 150, 1 << 20])
@pytest.mark.parametrize("name", NAMES)
@TRUNK
def test_packed_rows_give_the_numbers_and_gradients_of_padded_ones(
    name: str, trunk: str, group_numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twelvefold.model.packing.GROUP_NUMBERS", group_numbers)
    m, b = model(trunk=trunk), batch(name)
    packed = replace(b, features=b.features[b.region_mask], locations=b.locations[b.region_mask])
    real = b.candidate_mask if m.tasks[name].family == "grounding" else torch.ones_like(m(b), dtype=torch.bool)
    gradients = []
    for each in (b, packed):
        m.zero_grad()
        logits = m(each)
        torch.testing.assert_close(logits[real], m(b)[real], atol=1e-5, rtol=1e-5)
        torch.autograd.backward(logits[real].square().sum())
        gradients.append({key: p.grad for key, p in m.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)
    whole, of_packed = m.encode(b), m.encode(packed)
    torch.testing.assert_close(of_packed.regions[b.region_mask], whole.regions[b.region_mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(of_packed.fused, whole.fused, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@TRUNK
def test_the_content_of_padding_changes_nothing(name: str, trunk: str) -> None:
    m, b = model(trunk=trunk), batch(name)
    real = b.candidate_mask if name == "refcoco+" else slice(None)
    other = replace(
        b,
        token_ids=torch.where(b.token_mask, b.token_ids, 3),
        features=torch.where(b.region_mask[..., None], b.features, -50.0),
    )
    torch.testing.assert_close(m(other)[real], m(b)[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@TRUNK
def test_batch_size_and_order_change_nothing(name: str, trunk: str) -> None:
    m, b = model(trunk=trunk), batch(name)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(m(take(b, order)), m(b)[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(m(take(b, order[:1])), m(b)[order[:1]], atol=1e-5, rtol=1e-5)


@TRUNK
def test_two_images_are_not_interchangeable(trunk: str) -> None:
    m, b = model(trunk=trunk), batch("nlvr2", size=1)
    flipped = replace(b, **{name: getattr(b, name).flip(0) for name in TENSORS})
    assert not torch.allclose(m(flipped), m(b), atol=1e-3)


@TRUNK
def test_every_parameter_learns_from_some_task(trunk: str) -> None:
    m = model(trunk=trunk).train()
    for t in TASKS:
        b = batch(t.name)
        torch.autograd.backward(families.load_family(t.family).loss(m(b), b))
    idle = {name for name, p in m.named_parameters() if p.grad is None or not p.grad.any()}
    # A softmax over the pairs of an example does not change when a constant is added to all of them.
    assert idle <= {"heads.alignment.last.bias"}


@pytest.mark.parametrize(("name", "head"), [("coco", "alignment"), ("refcoco+", "grounding"), ("nlvr2", "nlvr2")])
def test_a_batch_trains_its_own_head_and_no_other(name: str, head: str) -> None:
    m, b = model().train(), batch(name)
    torch.autograd.backward(families.load_family(m.tasks[name].family).loss(m(b), b))
    learned = {key for key, p in m.heads.named_parameters() if p.grad is not None}
    assert learned
    assert {key.split(".")[0] for key in learned} == {head}


@pytest.mark.parametrize("norm", ["pre", "post"])
@TRUNK
def test_partial_computation_is_exact(norm: str, trunk: str) -> None:
    m, b = model(norm=norm, trunk=trunk), batch("vqav2")
    whole = m.trunk(b, 1)
    assert whole.text.shape == (4, 8, 16)
    torch.testing.assert_close(m.trunk.fused(b, 1), whole.pooled_text * whole.pooled_image, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(m.trunk.region_states(b, 1), whole.regions, atol=1e-5, rtol=1e-5)


@TRUNK
def test_alignments_are_those_of_the_pairs(trunk: str) -> None:
    m, b = model(trunk=trunk), batch("coco", size=2)
    single = replace(b, pairs_per_example=1, example_ids=list("abcdefgh"))
    captions, images = take(single, torch.tensor([0, 3])), take(single, torch.tensor([1, 2, 6]))
    sides = [(take(captions, torch.tensor([c])), take(images, torch.tensor([i]))) for c in range(2) for i in range(3)]
    pairs = [replace(c, **{n: getattr(i, n) for n in TENSORS if not n.startswith("token")}) for c, i in sides]
    expected = torch.cat([m(p) for p in pairs]).view(2, 3)
    packed = [
        replace(b, features=b.features[b.region_mask], locations=b.locations[b.region_mask]) for b in (captions, images)
    ]
    for at_once in (1024, 4):
        for texts, pool in ((captions, images), packed):
            torch.testing.assert_close(m.alignments(texts, pool, at_once), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(TwelvefoldError, match=r"vqav2.*no score for caption-image pairs"):
        m.alignments(batch("vqav2"), images)


def test_images_that_were_encoded_in_another_precision_can_be_searched() -> None:
    m, b = model(), batch("coco", size=2)
    expected = m.alignments(b, b)
    m.precision = "bf16"
    with torch.inference_mode():
        half = m.encode_images(b)
        m.precision = "fp32"
        exact = m.encode_images(b)
        torch.testing.assert_close(m.alignments(b, half), expected, atol=0.1, rtol=0.1)
        m.precision = "bf16"
        torch.testing.assert_close(m.alignments(b, exact), expected, atol=0.1, rtol=0.1)


def test_tasks_of_one_head_differ_only_with_a_task_token_per_dataset() -> None:
    b = batch("vqav2")
    same = replace(b, task="vgqa")
    kinds = ("dataset", "group", "head", "none")
    per_dataset, per_group, per_head, without = (model(task_token=kind) for kind in kinds)
    assert per_dataset.task_tokens == tuple(NAMES)
    assert not torch.allclose(per_dataset(b), per_dataset(same), atol=1e-4)
    assert per_group.task_tokens == tuple(dict.fromkeys(t.family for t in TASKS))
    assert torch.equal(per_group(b), per_group(same))
    assert per_head.task_tokens == tuple(h.name for h in HEADS)
    assert torch.equal(per_head(b), per_head(same))
    assert without.task_tokens == ()
    assert not any("tasks" in name for name, _ in without.named_parameters())
    assert without.trunk(b, 0).text.shape[1] == b.token_ids.shape[1]


def test_the_task_token_is_second_and_has_no_position_embedding() -> None:
    text = model(norm="post").trunk.text_embeddings
    ids = torch.tensor([[4, 5, 6], [7, 8, 0]])
    states, packing = text(ids, Packing(np.array([3, 2]), torch.device("cpu")), 2)
    assert packing.lengths.tolist() == [4, 3]
    assert text.tasks is not None
    for row in (1, 5):
        torch.testing.assert_close(states[row], text.norm(text.tasks.weight[2]))
    for row, token, position in ((0, 4, 0), (2, 5, 1), (3, 6, 2), (4, 7, 0), (6, 8, 1)):
        summed = text.words.weight[token] + text.positions.weight[position] + text.segments.weight[0]
        torch.testing.assert_close(states[row], text.norm(summed))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_finite_and_close_and_gives_float32_logits(name: str) -> None:
    m, b = model().train(), batch(name)
    exact = m(b)
    m.precision = "bf16"
    logits = m(b)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, atol=0.15, rtol=0.1)
    torch.autograd.backward(families.load_family(m.tasks[name].family).loss(logits, b))
    gradients = [p.grad for p in m.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_no_regions_and_no_words_give_finite_logits_and_gradients(name: str) -> None:
    m, b = model().train(), batch(name)
    b.region_mask[0], b.candidate_mask[0], b.features[0] = False, False, 0.0
    b.token_mask[-1] = False
    assert b.target is not None
    b.target = b.target * b.candidate_mask[..., None] if name == "refcoco+" else b.target
    loss = families.load_family(m.tasks[name].family).loss(m(b), b)
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    gradients = [p.grad for p in m.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_word_pieces_without_an_embedding_use_the_first_one() -> None:
    torch.manual_seed(0)
    m = Model(config(), TASKS, HEADS, word_pieces=[9, 4, 5]).eval()
    assert m.trunk.text_embeddings.words.num_embeddings == 3
    b = batch("vqav2")
    known = replace(b, token_ids=torch.full_like(b.token_ids, 9))
    assert torch.equal(m(replace(b, token_ids=torch.full_like(b.token_ids, 30))), m(known))
    assert not torch.allclose(m(replace(b, token_ids=torch.full_like(b.token_ids, 5))), m(known), atol=1e-4)
    for wrong in ([1, 1], [WORDS]):
        with pytest.raises(TwelvefoldError, match=r"word.pieces"):
            Model(config(), TASKS, HEADS, word_pieces=wrong)


def test_weights_are_initialized_as_configured() -> None:
    m = Model(preset("small", vocab_size=500), TASKS, HEADS)
    layer = m.get_submodule("trunk.image_layers.0")
    fc1, fc2 = layer.get_parameter("feed_forward.fc1.weight"), layer.get_parameter("feed_forward.fc2.weight")
    assert fc1.std().item() == pytest.approx(0.8 / 128**0.5, rel=0.05)
    assert fc2.std().item() == pytest.approx(0.5 * 0.8 / 256**0.5, rel=0.05)
    assert m.get_parameter("heads.vqa.last.bias").tolist() == [-3.5] * 4
    assert m.get_parameter("heads.grounding.last.bias").tolist() == [-2.0]
    assert m.get_parameter("heads.nlvr2.last.bias").tolist() == [0.0, 0.0]


def test_batches_and_specs_that_do_not_fit_are_refused() -> None:
    m, b = model(), batch("vqav2")
    with pytest.raises(TwelvefoldError, match=r"no task 'vqa2'.*did you mean 'vqav2'"):
        m(replace(b, task="vqa2"))
    with pytest.raises(TwelvefoldError, match=r"features have 5 numbers.*reads 12"):
        m(replace(b, features=torch.zeros(4, 6, 5)))
    with pytest.raises(TwelvefoldError, match=r"30 tokens.*24 positions.*max_tokens"):
        m(replace(b, token_ids=torch.zeros(4, 30, dtype=torch.int64), token_mask=torch.ones(4, 30, dtype=torch.bool)))
    for name, problem in (("nlvr2", "7 image-text pairs.*examples of 2"), ("coco", "15 image-text pairs.*of 4")):
        whole = batch(name)
        odd = replace(whole, **{tensor: getattr(whole, tensor)[:-1] for tensor in TENSORS})
        for forward in (m, m.forward_with_attention):
            with pytest.raises(TwelvefoldError, match=rf"'{name}': {problem}"):
                forward(odd)
    with pytest.raises(TwelvefoldError, match=r"'nlvr2' has 2 pairs per example, but the batch has 1"):
        m(replace(batch("nlvr2"), pairs_per_example=1))
    with pytest.raises(TwelvefoldError, match=r"an image for each text, got 4 for 3"):
        m(replace(b, token_ids=b.token_ids[:3], token_mask=b.token_mask[:3]))
    with pytest.raises(TwelvefoldError, match=r"'vqav2' needs head 'vqa'.*'grounding'|vqa.*grounding"):
        Model(config(), TASKS[:1], HEADS[2:])
    with pytest.raises(TwelvefoldError, match=r"'x' is of family grounding.*'vqa' is of family answers"):
        Model(config(), [task("x", "grounding", "vqa")], HEADS)
    with pytest.raises(TwelvefoldError, match=r"'x' has 1 pairs.*'nlvr2' reads 2"):
        Model(config(), [task("x", "verification", "nlvr2")], HEADS)
    with pytest.raises(TwelvefoldError, match="two tasks are called 'vqav2'"):
        Model(config(), [TASKS[0], TASKS[0]], HEADS)


def test_an_invalid_configuration_is_refused() -> None:
    with pytest.raises(TwelvefoldError, match=r"'smal'.*did you mean 'small'"):
        preset("smal")
    with pytest.raises(TwelvefoldError, match=r"num_text_layer does not exist.*did you mean 'num_text_layers'"):
        preset("small", num_text_layer=2)
    with pytest.raises(TwelvefoldError, match="blocks is now called num_coattention_layers"):
        preset("small", blocks=2)
    with pytest.raises(TwelvefoldError, match=r"text_hidden_size = 100.*text_attention_heads = 3"):
        preset("small", text_hidden_size=100, text_attention_heads=3)
    with pytest.raises(TwelvefoldError, match=r"norm.*|Invalid enum value 'mid'"):
        preset("small", norm="mid")
    with pytest.raises(TwelvefoldError, match="num_coattention_layers must be between 1"):
        preset("small", num_coattention_layers=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_one_modality_ignores_the_other(name: str) -> None:
    first, second = batch(name, seed=1), batch(name, seed=2)
    only_text, only_image = model(modality="text"), model(modality="image")
    other_image = replace(first, features=second.features, locations=second.locations)
    other_text = replace(first, token_ids=second.token_ids.clone(), token_mask=second.token_mask)
    other_text.token_ids[:, 0] = first.token_ids[:, 0]  # [CLS], the same in every text
    torch.testing.assert_close(only_text(other_image), only_text(first))
    torch.testing.assert_close(only_image(other_text), only_image(first))
    both = model()
    assert not torch.allclose(both(other_image), both(first))
    assert not torch.allclose(both(other_text), both(first))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("trunk", "num_heads", "num_blocks"), [("two_stream", 5, 2), ("single_stream", 2, 3)])
def test_attention_weights_change_no_logits_and_each_row_sums_to_one(
    name: str, trunk: str, num_heads: int, num_blocks: int
) -> None:
    b, m = batch(name), model(trunk=trunk)
    logits, blocks = m.forward_with_attention(b)
    torch.testing.assert_close(logits, m(b), atol=1e-5, rtol=1e-5)
    assert len(blocks) == num_blocks
    num_words = b.token_mask.shape[1] + 1  # the task token
    for weights in blocks:
        assert weights.to_regions.shape == (len(b.features), num_heads, num_words, b.features.shape[1])
        assert weights.to_words.shape == (len(b.features), num_heads, b.features.shape[1], num_words)
        torch.testing.assert_close(weights.to_regions.sum(-1), torch.ones(weights.to_regions.shape[:3]))
        torch.testing.assert_close(weights.to_words.sum(-1), torch.ones(weights.to_words.shape[:3]))
        assert (weights.to_regions.movedim(3, 1)[~b.region_mask] == 0).all()
