"""An ONNX file computes what the network computes, for any number of images, words and regions, and with padding."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from twelvefold.batch import Batch
from twelvefold.cli.weights import weights_onnx
from twelvefold.export.onnx import INPUTS, OPSET, export_onnx
from twelvefold.model import Model, preset
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError

FEATURES, WORDS = 12, 50
TASKS = [
    TaskSpec("vqav2", "VQA", "answers", "vqa", "accuracy", 20, 8, 1e-3),
    TaskSpec("coco", "COCO", "retrieval", "retrieval", "recall_at_1", 20, 8, 1e-3),
    TaskSpec("refcoco", "RefCOCO", "grounding", "grounding", "iou_at_0.5", 20, 8, 1e-3),
    TaskSpec("nlvr2", "NLVR2", "verification", "nlvr2", "accuracy", 20, 8, 1e-3, pairs_per_example=2),
    TaskSpec("snli_ve", "SNLI-VE", "verification", "snli_ve", "accuracy", 20, 8, 1e-3),
]
HEADS = [
    HeadSpec("vqa", "answers", ("yes", "no", "zwölf")),
    HeadSpec("retrieval", "retrieval"),
    HeadSpec("grounding", "grounding"),
    HeadSpec("nlvr2", "verification", ("False", "True"), 2),
    HeadSpec("snli_ve", "verification", ("contradiction", "neutral", "entailment"), form="linear"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model of the published form with one block and no single-stream layers."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    sizes = {
        "vocab_size": WORDS, "max_position_embeddings": 24, "feature_size": FEATURES, "text_hidden_size": 16,
        "image_hidden_size": 24, "bi_hidden_size": 20, "text_attention_heads": 2, "image_attention_heads": 4,
        "bi_attention_heads": 5, "text_ffn_dim": 32, "image_ffn_dim": 24, "head_hidden_size": 28,
        "num_text_layers": 0, "num_coattention_layers": 1, "init_scale": 0.3,
    }  # fmt: skip
    Model(preset("vilbert_base", **sizes), TASKS, HEADS).save(folder)
    return folder


def batch(task: str, lengths: list[int], counts: list[int]) -> Batch:
    """Return texts and images of these lengths, padded with numbers that must not be read."""
    g = torch.Generator().manual_seed(sum(lengths) + sum(counts))
    token_mask = pad_sequence([torch.ones(n, dtype=torch.bool) for n in lengths], batch_first=True)
    region_mask = pad_sequence([torch.ones(n, dtype=torch.bool) for n in counts], batch_first=True)
    return Batch(
        task=task,
        pairs_per_example=1,
        example_ids=[str(n) for n in range(len(lengths))],
        token_ids=torch.randint(0, WORDS, token_mask.shape, generator=g),
        token_mask=token_mask,
        features=torch.randn(*region_mask.shape, FEATURES, generator=g),
        boxes_px=torch.zeros(*region_mask.shape, 4),
        locations=torch.rand(*region_mask.shape, 5, generator=g),
        region_mask=region_mask,
        candidate_mask=region_mask,
    )


def run_session(session: Any, inputs: Batch) -> np.ndarray[Any, Any]:
    outputs: list[np.ndarray[Any, Any]] = session.run(None, {name: getattr(inputs, name).numpy() for name in INPUTS})
    return outputs[0]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vqav2", "coco", "refcoco", "snli_ve"])
def test_the_file_computes_what_the_network_computes_at_any_size(task: str, folder: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    assert weights_onnx(folder, task=task, out=tmp_path / "m.onnx", json=True) == 0
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    model = Model.load(folder)
    sizes = [([4], [1]), ([2, 2], [2, 7]), ([3, 9, 24], [40, 1, 5]), ([7] * 5, [3] * 5)]
    for lengths, counts in sizes:
        inputs = batch(task, lengths, counts)
        want, got = model(inputs).detach().numpy(), run_session(session, inputs)
        real = inputs.region_mask.numpy() if task == "refcoco" else np.ones(want.shape, bool)
        assert got.shape == want.shape
        np.testing.assert_allclose(got[real], want[real], atol=1e-4, rtol=0)
        assert want[real].std() > 1e-3 or want[real].size < 3  # else equality would prove nothing
    metadata = session.get_modelmeta().custom_metadata_map
    spec = next(spec for spec in TASKS if spec.name == task)
    outputs = next(head.outputs for head in HEADS if head.name == spec.head)
    assert (metadata["twelvefold.task"], metadata["twelvefold.family"]) == (task, spec.family)
    assert tuple(json.loads(metadata["twelvefold.outputs"])) == outputs
    assert (metadata["twelvefold.max_tokens"], metadata["twelvefold.feature_size"]) == ("20", str(FEATURES))
    assert set(json.loads(metadata["twelvefold.inputs"])) == {put.name for put in session.get_inputs()} == set(INPUTS)
    assert [put.shape[:2] for put in session.get_inputs()] == [["batch", "tokens"]] * 2 + [["batch", "regions"]] * 3
    import onnx

    file = onnx.load(tmp_path / "m.onnx")
    assert [entry.version for entry in file.opset_import if entry.domain == ""] == [OPSET]
    assert all(put.doc_string for put in (*file.graph.input, *file.graph.output))


def test_tasks_that_cannot_be_exported_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task, message in (
        ("nlvr2", "task nlvr2 reads two images, an ONNX file is for one; tasks: vqav2, coco, refcoco, snli_ve"),
        ("vqa", "no task 'vqa'; did you mean 'vqav2'"),
    ):
        with pytest.raises(TwelvefoldError, match=message):
            export_onnx(folder, task, tmp_path / "m.onnx")
    with pytest.raises(TwelvefoldError, match="no folder"):
        export_onnx(tmp_path / "none", "vqav2", tmp_path / "m.onnx")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    with pytest.raises(TwelvefoldError, match=r"needs onnxscript: pip install 'twelvefold\[onnx\]'"):
        export_onnx(folder, "vqav2", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
