"""From an image through the paper's detector and an official weight file to answers of all six heads, at a small size.

``benchmarks/photo_to_answers.py`` does the same at full size.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import twelvefold
from twelvefold import datasets
from twelvefold.batch import Batch
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.detectors.x152.detector import X152
from twelvefold.detectors.x152.network import X152Config, X152Network
from twelvefold.images import load_image
from twelvefold.model import Model, preset
from twelvefold.schema import HeadSpec, TwelvefoldError
from twelvefold.serving.predictor import Predictor
from twelvefold.vilbert_mt.export_weights import export_weights
from twelvefold.vilbert_mt.import_weights import import_weights
from twelvefold.vilbert_mt.parameter_names import HEADS, TASK_TOKENS

ANSWERS = {"vqa": ("yes", "no", "two", "red"), "gqa": ("left", "right", "tree")}
HEADS_OF = {"num_attention_heads": 4, "v_num_attention_heads": 2, "bi_num_attention_heads": 2}
QUESTION = "What colour is the umbrella?"
REGIONS = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, the detector's weight file, and the folder of an imported official weight file."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    config = X152Config(
        blocks=(1, 1, 1, 1), stem_channels=8, groups=4, group_width=2, fpn_channels=8, hidden_size=16, num_classes=21
    )
    torch.save({"model": X152Network(config).state_dict()}, folder / "detectron_model.pth")
    heads = [
        HeadSpec(
            h.name,
            h.family,
            ANSWERS.get(h.name, h.outputs),
            h.pairs_per_example,
            h.form if h.family == "verification" else "mlp",
        )
        for h in HEADS
    ]
    widths = {
        "feature_size": 16, "text_hidden_size": 24, "image_hidden_size": 16, "bi_hidden_size": 20,
        "text_attention_heads": 4, "image_attention_heads": 2, "bi_attention_heads": 2, "text_ffn_dim": 32,
        "image_ffn_dim": 16, "head_hidden_size": 40, "num_text_layers": 1, "num_coattention_layers": 1,
        "num_region_categories": 21, "word_score": True, "init_scale": 0.3,
    }  # fmt: skip
    tasks = [datasets.load_dataset(name).TASK for name in datasets.paper_task_names()]
    Model(preset("vilbert_base", **widths), tasks, heads, task_tokens=TASK_TOKENS).save(folder / "made")
    export_weights(folder / "made", folder / "multi_task_model.bin")
    (folder / "bert_base_6layer_6conect.json").write_text(json.dumps(HEADS_OF))
    for task, head in (("vqav2", "vqa"), ("gqa", "gqa")):
        (folder / f"{task}.json").write_text(json.dumps(ANSWERS[head]))
    lists = {task: folder / f"{task}.json" for task in ("vqav2", "gqa")}
    import_weights(
        folder / "multi_task_model.bin",
        folder / "model",
        config=folder / "bert_base_6layer_6conect.json",
        answers=lists,
    )
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (60, 80, 3)), ("b.png", (90, 60, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Predictor:
    return twelvefold.load(folder / "model", detector="x152", detector_weights=folder / "detectron_model.pth")


def test_each_of_the_six_heads_answers(model: Predictor, folder: Path) -> None:
    a, b = folder / "a.png", folder / "b.png"
    for task, head in (("vqav2", "vqa"), ("vgqa", "vqa"), ("gqa", "gqa")):
        assert {ranked.name for ranked in model.ask(a, QUESTION, task=task).ranked} <= set(ANSWERS[head])
    search = model.find("an umbrella", [a, b])
    compared = model.compare(a, b, "both pictures show an umbrella")
    entailed = model.entails(a, "it rains")
    for prediction, count in ((search, 2), (compared, 2), (entailed, 3)):
        assert len(prediction.ranked) == count
        assert sum(ranked.probability for ranked in prediction.ranked) == pytest.approx(1, abs=1e-4)
    pointed = {ranked.box_px for ranked in model.point(a, "the umbrella", top=REGIONS).ranked}
    (regions,) = model.detect([load_image(a)])
    detected = {tuple(box) for box in regions.boxes_px.tolist()}
    assert detected & pointed
    assert len(pointed - detected) <= 1  # the whole image is a candidate too
    assert model.about.detector.name == "x152"


def test_answer_probabilities_match_a_forward_pass_on_the_same_regions(model: Predictor, folder: Path) -> None:
    """The network's input is computed from the pixels step by step here."""
    pixels = np.asarray(Image.open(folder / "a.png"))
    ((regions, _),) = X152.load(folder / "detectron_model.pth").extract_regions([pixels], [np.zeros((0, 4))])
    features = torch.from_numpy(regions.features).half().float()
    boxes = torch.from_numpy(regions.boxes_px)
    unit = boxes / torch.tensor([80.0, 60.0, 80.0, 60.0])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (80 * 60)
    locations = torch.cat([torch.tensor([[0.0, 0, 1, 1, 1]]), torch.cat([unit, area[:, None]], 1)])
    rows = torch.cat([features.mean(0, keepdim=True), features])
    ids = torch.tensor([[101, *Tokenizer().encode(QUESTION), 102]])
    mask = torch.ones(1, len(rows), dtype=torch.bool)
    batch = Batch(
        task="vqav2", pairs_per_example=1, example_ids=["0"],
        token_ids=ids, token_mask=torch.ones_like(ids, dtype=torch.bool),
        features=rows[None], boxes_px=torch.zeros(1, len(rows), 4), locations=locations[None], region_mask=mask,
        candidate_mask=mask,
    )  # fmt: skip
    with torch.inference_mode():
        expected = dict(zip(ANSWERS["vqa"], Model.load(folder / "model")(batch).sigmoid()[0].tolist(), strict=True))
    answered = model.ask(folder / "a.png", QUESTION)
    assert {ranked.name: ranked.probability for ranked in answered.ranked} == pytest.approx(expected, abs=1e-3)
    assert max(expected.values()) - min(expected.values()) > 0.01


def test_a_detector_object_can_be_passed_and_is_needed_without_a_card(folder: Path) -> None:
    detector = X152.load(folder / "detectron_model.pth")
    assert twelvefold.load(folder / "model", detector=detector).about.detector.name == "X152"
    with pytest.raises(TwelvefoldError, match="features of 16 numbers, but the detector gives 256; name the detector"):
        twelvefold.load(folder / "model")
