"""Import and export: every entry is accounted for, and files that do not fit are refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.vilbert_checkpoints import DECODER, SMALL_VOCABULARY, WORDS, ImportTensors, MakeTensors, equal_tensors

from twelvefold import cli
from twelvefold.config.weights import WeightsImportConfig
from twelvefold.model import Model
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.export_weights import export_weights
from twelvefold.vilbert_mt.import_weights import import_weights


@pytest.mark.parametrize("kind", ["tokens", "no tokens", "pretraining"])
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_an_exported_import_equals_the_file(
    kind: str, suffix: str, vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    t = vilbert_tensors(kind)
    summary = import_tensors(t)
    assert sorted([*summary.used, *summary.tied, *summary.carried]) == sorted(t)
    assert summary.tied == (WORDS,)
    assert all("q_dense" in name for name in summary.carried)
    assert not summary.fresh
    exported = export_weights(tmp_path / "model", tmp_path / f"back.{suffix}")
    assert exported.entries == len(t)
    if suffix == "bin":
        back = torch.load(tmp_path / "back.bin")
        assert equal_tensors(back, t)
        assert back[WORDS].data_ptr() == back[DECODER].data_ptr()
        assert exported.parameters == sum(tensor.numel() for name, tensor in t.items() if name != DECODER)
    else:
        assert equal_tensors(dict(sorted(load_file(tmp_path / "back.safetensors").items())), dict(sorted(t.items())))


def test_heads_outputs_and_task_tokens_get_names(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    summary = import_tensors(vilbert_tensors())
    m = Model.load(tmp_path / "model")
    assert m.task_tokens[1] == "vqav2"
    assert m.task_tokens[16:] == ("foil", "guesswhat", "flickr30k_entities", "row.19")
    assert m.head_specs["snli_ve"].outputs == ("contradiction", "neutral", "entailment")
    assert m.head_specs["snli_ve"].form == "linear"
    assert m.head_specs["nlvr2"].outputs == ("False", "True")
    assert m.head_specs["vqa"].outputs[8] == "unnamed.8"
    assert summary.answers == {"vqa": 0, "gqa": 0}
    import_tensors(vilbert_tensors(), guesswhat_row=16)
    assert Model.load(tmp_path / "model").task_tokens[16:18] == ("guesswhat", "row.17")
    with pytest.raises(TwelvefoldError, match="20 task tokens"):
        import_tensors(vilbert_tensors(), guesswhat_row=20)


# --------------------------------------------------------------------------------------------------- plain BERT


@pytest.mark.parametrize("how", ["bin", "old names", "safetensors"])
def test_a_plain_bert_becomes_the_text_stream_and_the_rest_is_initialized(
    how: str, vilbert_tensors: MakeTensors, vilbert_json: Path, tmp_path: Path
) -> None:
    t = vilbert_tensors("bert")
    file = tmp_path / ("bert.safetensors" if how == "safetensors" else "bert.bin")
    if how == "safetensors":  # as on hubs: no second name for the decoder, and a buffer
        tensors = {name: tensor for name, tensor in t.items() if name != DECODER}
        save_file(tensors | {"bert.embeddings.position_ids": torch.arange(16)}, file)
    else:
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"} if how == "old names" else {}
        torch.save({next((n.replace(a, b) for a, b in old.items() if a in n), n): x for n, x in t.items()}, file)
    seed_4, seed_5 = (WeightsImportConfig(other_vocabulary=True, seed=seed) for seed in (4, 5))
    summary = import_weights(file, tmp_path / "model", config=vilbert_json, options=seed_4)
    again = import_weights(file, tmp_path / "again", config=vilbert_json, options=seed_4)
    other = import_weights(file, tmp_path / "other", config=vilbert_json, options=seed_5)
    assert summary.kind == "plain BERT"
    assert not summary.unknown
    assert set(summary.carried) >= {"bert.pooler.dense.weight", "cls.seq_relationship.bias"}
    ours, same_seed, other_seed = (load_file(s.folder / "model.safetensors") for s in (summary, again, other))
    assert torch.equal(ours["trunk.text_embeddings.words.weight"], t[WORDS])
    assert torch.equal(
        ours["trunk.text_layers.0.projections.weight"][24:48], t["bert.encoder.layer.0.attention.self.key.weight"]
    )
    assert torch.equal(
        ours["trunk.blocks.1.text_layer.feed_forward.out.bias"], t["bert.encoder.layer.4.output.dense.bias"]
    )
    assert torch.equal(ours["pretraining.words_bias"], t["cls.predictions.bias"])
    assert summary.fresh
    assert all("text_l" not in name and "text_e" not in name for name in summary.fresh)
    initialized = "trunk.image_layers.0.out.weight"
    assert initialized in summary.fresh
    assert torch.equal(ours[initialized], same_seed[initialized])
    assert not torch.equal(ours[initialized], other_seed[initialized])
    Model.load(tmp_path / "model")


def test_a_plain_bert_without_a_layers_tensor_is_refused(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors
) -> None:
    t = vilbert_tensors("bert")
    del t["bert.encoder.layer.2.output.dense.weight"]
    with pytest.raises(TwelvefoldError, match=r"missing: bert\.encoder\.layer\.2\.output\.dense\.weight \[24, 96\]"):
        import_tensors(t)


# ---------------------------------------------------------------------------------------------- what is refused


def test_missing_unknown_and_wrongly_shaped_tensors_are_listed_with_the_closest_name(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    t = vilbert_tensors()
    t["bert.t_poler.dense.weight"] = t.pop("bert.t_pooler.dense.weight")
    t["vil_logit.bias"] = torch.zeros(2)
    with pytest.raises(TwelvefoldError) as error:
        import_tensors(t)
    message = str(error.value)
    assert "missing: bert.t_pooler.dense.weight [40, 24]; is it bert.t_poler.dense.weight?" in message
    assert "unknown: bert.t_poler.dense.weight [40, 24]; is it bert.t_pooler.dense.weight?" in message
    assert "shape: vil_logit.bias is [2], expected [1]" in message
    assert not (tmp_path / "model").exists()
    t["vil_logit.bias"] = torch.zeros(1)
    with pytest.raises(TwelvefoldError, match="--partial"):
        import_tensors(t)
    summary = import_tensors(t, partial=True)
    assert summary.fresh == ("trunk.text_pooler.weight",)
    assert summary.unknown == ("bert.t_poler.dense.weight",)
    assert "bert.t_poler.dense.weight" in load_file(tmp_path / "model/carried.safetensors")


def test_an_incomplete_projection_is_refused_even_with_partial(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors
) -> None:
    t = vilbert_tensors()
    del t["bert.encoder.c_layer.1.biattention.key2.bias"]
    with pytest.raises(TwelvefoldError, match=r"incomplete: .*query2\.bias.* without .*key2\.bias"):
        import_tensors(t, partial=True)


def test_a_file_without_a_head_has_no_tasks_of_that_head(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    removed = ("vil_prediction_gqa", "vil_binary_prediction", "vil_tri_prediction", "linguisic")
    t = {name: tensor for name, tensor in vilbert_tensors("no tokens").items() if not name.startswith(removed)}
    summary = import_tensors(t)
    assert {"gqa", "nlvr2", "snli_ve"}.isdisjoint(summary.tasks)
    assert {"vqav2", "coco", "refcoco"} <= set(summary.tasks)
    export_weights(tmp_path / "model", tmp_path / "back.bin")
    assert equal_tensors(torch.load(tmp_path / "back.bin"), t)


def test_an_untied_decoder_is_used_and_both_tensors_are_exported(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    t = vilbert_tensors()
    t[DECODER] = t[DECODER] + 1.0
    summary = import_tensors(t)
    assert WORDS in summary.carried
    assert any("differs" in note for note in summary.notes)
    assert torch.equal(
        load_file(tmp_path / "model/model.safetensors")["trunk.text_embeddings.words.weight"], t[DECODER]
    )
    export_weights(tmp_path / "model", tmp_path / "back.bin")
    assert equal_tensors(torch.load(tmp_path / "back.bin"), t)


def test_two_names_of_the_same_parameter_are_refused(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors
) -> None:
    t = vilbert_tensors()
    t["module.vil_logit.bias"] = t["vil_logit.bias"]
    with pytest.raises(TwelvefoldError, match=r"vil_logit\.bias and module\.vil_logit\.bias are both"):
        import_tensors(t)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v_hidden_size": 48}, r"v_hidden_size: the JSON says 48, the file's tensors 32"),
        ({"num_hidden_layers": 6}, r"num_hidden_layers: the JSON says 6, the file's tensors 5"),
        ({"t_biattention_id": [2, 4]}, r"t_biattention_id: expected co-attention before the last 2 layers"),
        ({"v_hidden_act": "relu"}, r"v_hidden_act: expected 'gelu', got 'relu'"),
        ({"dynamic_attention": True}, "dynamic_attention"),
        ({"model": "roberta"}, "roberta"),
        ({"bi_num_attention_heads": 7}, "bi_hidden_size = 40 must be a positive multiple of bi_attention_heads = 7"),
        ({"hidden_size": "24"}, "hidden_size"),
    ],
)
def test_a_json_that_contradicts_the_file_is_refused(
    change: dict[str, Any],
    message: str,
    vilbert_tensors: MakeTensors,
    import_tensors: ImportTensors,
    vilbert_json: Path,
) -> None:
    vilbert_json.write_text(json.dumps(json.loads(vilbert_json.read_text()) | change))
    with pytest.raises(TwelvefoldError, match=message):
        import_tensors(vilbert_tensors())


def test_unpublished_sizes_need_a_json(vilbert_tensors: MakeTensors, tmp_path: Path) -> None:
    torch.save(vilbert_tensors(), tmp_path / "vilbert.bin")
    with pytest.raises(TwelvefoldError, match=r"text_hidden_size 24 is not a published one.*--config"):
        import_weights(tmp_path / "vilbert.bin", tmp_path / "model", options=SMALL_VOCABULARY)


@pytest.mark.parametrize("content", ["truncated zip", "truncated legacy", "text", "empty", "list", "no tensors", "tar"])
def test_other_files_are_refused_by_name(
    content: str, vilbert_tensors: MakeTensors, vilbert_json: Path, tmp_path: Path
) -> None:
    path = tmp_path / "file.bin"
    if content.startswith("truncated"):
        torch.save(vilbert_tensors(), path, _use_new_zipfile_serialization="zip" in content)
        path.write_bytes(path.read_bytes()[:-2000])
    elif content in ("list", "no tensors"):
        torch.save([torch.zeros(2)] if content == "list" else {"epoch": 3}, path)
    elif content == "tar":
        import tarfile

        with tarfile.open(path, "w") as archive:
            archive.add(vilbert_json)
    else:
        path.write_bytes(b"<html>not found</html>" if content == "text" else b"")
    with pytest.raises(TwelvefoldError, match=r"file\.bin"):
        import_weights(path, tmp_path / "model", config=vilbert_json, options=SMALL_VOCABULARY)
    with pytest.raises(TwelvefoldError, match="no weight file"):
        import_weights(tmp_path / "nowhere.bin", tmp_path / "model")


def test_a_folder_with_other_files_is_not_replaced(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/thesis.txt").write_text("mine")
    with pytest.raises(TwelvefoldError, match="is not empty and has no model"):
        import_tensors(vilbert_tensors())
    assert (tmp_path / "model/thesis.txt").read_text() == "mine"


# ------------------------------------------------------------------------------------------------------ answers


def test_answer_lists_are_stored_by_name(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    vqa, gqa = [f"a{n}" for n in range(9)], [f"g{n}" for n in range(7)]
    (tmp_path / "label2ans.pkl").write_bytes(pickle.dumps(vqa, protocol=2))
    (tmp_path / "gqa.json").write_text(json.dumps({answer: n for n, answer in enumerate(gqa)}))
    lists = {"vqav2": tmp_path / "label2ans.pkl", "gqa": tmp_path / "gqa.json"}
    assert import_tensors(vilbert_tensors(), answers=lists).answers == {"vqa": 9, "gqa": 7}
    heads = Model.load(tmp_path / "model").head_specs
    assert (heads["vqa"].outputs, heads["gqa"].outputs) == (tuple(vqa), tuple(gqa))
    with pytest.raises(TwelvefoldError, match="not the list of the other task"):
        import_tensors(vilbert_tensors(), answers=lists | {"vgqa": tmp_path / "gqa.json"})
    with pytest.raises(TwelvefoldError, match=r"no answer list is needed for 'vqa2'.*'vqav2'"):
        import_tensors(vilbert_tensors(), answers={"vqa2": tmp_path / "gqa.json"})
    with pytest.raises(TwelvefoldError, match="file has no vil_prediction"):
        import_tensors(vilbert_tensors("pretraining"), answers={"vqav2": tmp_path / "label2ans.pkl"})


@pytest.mark.parametrize("length", [8, 10])
def test_an_answer_list_of_another_length_is_refused(
    length: int, vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps([f"a{n}" for n in range(length)]))
    with pytest.raises(TwelvefoldError, match=f"head vqa has 9 outputs, but its answer list {length} answers"):
        import_tensors(vilbert_tensors(), answers={"vqav2": path})
    if length < 9:
        import_tensors(vilbert_tensors(), answers={"vqav2": path}, pad_answers=True)
        outputs = Model.load(tmp_path / "model").head_specs["vqa"].outputs
        assert outputs[7:] == ("a7", "unnamed.8")


# ------------------------------------------------------------------------------------------------- out, commands


def test_a_model_that_vilbert_mt_cannot_represent_is_refused(tmp_path: Path) -> None:
    from twelvefold.datasets import load_dataset
    from twelvefold.model import preset
    from twelvefold.schema import HeadSpec

    tasks = [load_dataset("snli_ve").TASK, load_dataset("coco").TASK]
    heads = [HeadSpec("snli_ve", "verification", tasks[0].classes), HeadSpec("retrieval", "retrieval")]
    Model(preset("small", vocab_size=30), tasks, heads).save(tmp_path / "own")
    with pytest.raises(
        TwelvefoldError,
        match=r"(?s)norms before.*head snli_ve of vilbert-multi-task is of form linear, the model's mlp",
    ):
        export_weights(tmp_path / "own", tmp_path / "o.bin")
    Model(preset("small", vocab_size=30, trunk="single_stream"), tasks, heads).save(tmp_path / "single")
    with pytest.raises(TwelvefoldError, match="its trunk is single_stream, vilbert-multi-task's is two_stream"):
        export_weights(tmp_path / "single", tmp_path / "o.bin")
    linear = [HeadSpec("snli_ve", "verification", tasks[0].classes, form="linear"), heads[1]]
    own = Model(preset("small", vocab_size=30, norm="post"), tasks, linear)
    own.save(tmp_path / "own")
    exported = export_weights(tmp_path / "own", tmp_path / "o.bin")
    back = torch.load(tmp_path / "o.bin")
    assert own.trunk.text_embeddings.tasks is not None
    assert torch.equal(back["bert.embeddings.task_embeddings.weight"][13], own.trunk.text_embeddings.tasks.weight[0])
    assert torch.equal(back["bert.embeddings.task_embeddings.weight"][7], own.trunk.text_embeddings.tasks.weight[1])
    assert not back["bert.embeddings.task_embeddings.weight"][1].any()
    assert {name for name in back if "q_dense" in name} == set(exported.zeros)
    assert DECODER not in back


def test_the_commands_print_a_summary(
    vilbert_tensors: MakeTensors, vilbert_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(vilbert_tensors(), tmp_path / "o.bin")

    def run(*words: str | Path) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main([str(word) for word in ("weights", *words)])
        return int(exit_.value.code or 0), capsys.readouterr().out

    code, output = run("show", tmp_path / "o.bin")
    assert code == 0
    assert "multi-task with task tokens: 256 entries, 255 distinct tensors" in output
    assert "head snli_ve: 3 outputs" in output
    words = ("import", tmp_path / "o.bin", "--config", vilbert_json, "--out", tmp_path / "m", "--json")
    assert run(*words)[0] == 2  # its vocabulary is small
    code, output = run(*words, "--other-vocabulary")
    assert code == 0
    assert json.loads(output)["tied"] == [WORDS]
    code, output = run("export", tmp_path / "m", tmp_path / "back.bin")
    assert code == 0
    assert "256 entries" in output
    assert run("import", tmp_path / "o.bin", "--out", tmp_path / "m")[0] == 2
    assert run("import", tmp_path / "o.bin", "--out", tmp_path / "m", "--answers", "vqav2")[0] == 2
