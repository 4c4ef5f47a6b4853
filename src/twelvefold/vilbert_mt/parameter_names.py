"""Parameter names, task numbers and output orders of vilbert-multi-task checkpoints.

The rest of the package uses names only; the numbers of vilbert-multi-task are here. The tables below are used in both
directions, for import and export: a :class:`ParameterSource` says which of its tensors, stacked, are one of ours. No
tensor is transposed. In co-attention its index 1 is the image side and 2 the text side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from twelvefold.config.model import ModelConfig
from twelvefold.schema import HeadSpec

WORD_EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
WORD_DECODER = "cls.predictions.decoder.weight"
"""The two names of one tied tensor. If a file has two values, vilbert-multi-task's loader keeps WORD_DECODER's."""

TASK_TOKENS = (
    "row.0", "vqav2", "vgqa", "visual_dialog", "visual7w", "vcr_answer", "vcr_rationale", "coco", "flickr30k",
    "refcoco", "refcoco+", "refcocog", "nlvr2", "snli_ve", "guesswhat_answers", "gqa", "foil", "guesswhat",
    "flickr30k_entities", "row.19",
)  # fmt: skip
"""Names of the rows of the task embedding; the index is the task number. Rows without a task are ``row.<number>``.

Uncertain: vilbert-multi-task's demonstration uses row 16 for GuessWhat, its task file row 17."""


class VilbertHead(NamedTuple):
    """A task head of the multi-task model. ``prefix``: start of its parameter names."""

    name: str
    family: str
    form: Literal["mlp", "linear"]
    prefix: str
    pairs_per_example: int = 1
    outputs: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[tuple[str, str], ...]:
        """Return our name and the vilbert-multi-task name of each module."""
        if self.form == "mlp":
            modules = (("into", "0"), ("norm", "2"), ("last", "3"))  # 1 is the activation
            return tuple((name, f"{self.prefix}.logit_fc.{index}") for name, index in modules)
        return (("last", self.prefix),)

    @property
    def output_weight(self) -> str:
        """Return the name of the weight whose rows are the outputs."""
        return f"{self.modules[-1][1]}.weight"


HEADS = (
    VilbertHead("vqa", "answers", "mlp", "vil_prediction"),
    VilbertHead("gqa", "answers", "mlp", "vil_prediction_gqa"),
    VilbertHead("nlvr2", "verification", "mlp", "vil_binary_prediction", 2, ("False", "True")),
    VilbertHead("retrieval", "retrieval", "linear", "vil_logit"),
    VilbertHead(
        "snli_ve", "verification", "linear", "vil_tri_prediction", 1, ("contradiction", "neutral", "entailment")
    ),
    VilbertHead("grounding", "grounding", "linear", "vision_logit"),
)
WORD_SCORE = "linguisic_logit"
"""The misspelling is vilbert-multi-task's."""

LAYER_MODULES = (
    ("projections", ("attention.self.query", "attention.self.key", "attention.self.value")),
    ("out", ("attention.output.dense",)),
    ("residual.norm", ("attention.output.LayerNorm",)),
    ("feed_forward.into", ("intermediate.dense",)),
    ("feed_forward.out", ("output.dense",)),
    ("feed_forward.residual.norm", ("output.LayerNorm",)),
)
"""A layer of one stream, text or image."""

COATTENTION_MODULES = (
    ("projections", ("biattention.query{n}", "biattention.key{n}", "biattention.value{n}")),
    ("out", ("biOutput.dense{n}",)),
    ("residual.norm", ("biOutput.LayerNorm{n}",)),
    ("feed_forward.into", ("{s}_intermediate.dense",)),
    ("feed_forward.out", ("{s}_output.dense",)),
    ("feed_forward.residual.norm", ("{s}_output.LayerNorm",)),
)
"""One side of a co-attention layer: ``n`` is 1 and ``s`` is v for the image, 2 and t for the text."""

TRUNK_MODULES = (
    ("trunk.text_embeddings.norm", ("bert.embeddings.LayerNorm",)),
    ("trunk.image_embeddings.features", ("bert.v_embeddings.image_embeddings",)),
    ("trunk.image_embeddings.locations", ("bert.v_embeddings.image_location_embeddings",)),
    ("trunk.image_embeddings.norm", ("bert.v_embeddings.LayerNorm",)),
    ("trunk.text_pooler", ("bert.t_pooler.dense",)),
    ("trunk.image_pooler", ("bert.v_pooler.dense",)),
)

EMBEDDINGS = (
    ("trunk.text_embeddings.words.weight", (WORD_EMBEDDINGS,)),
    ("trunk.text_embeddings.positions.weight", ("bert.embeddings.position_embeddings.weight",)),
    ("trunk.text_embeddings.segments.weight", ("bert.embeddings.token_type_embeddings.weight",)),
)
TASK_EMBEDDINGS = "bert.embeddings.task_embeddings.weight"

PRETRAINING_MODULES = (
    ("pretraining.words.into", ("cls.predictions.transform.dense",)),
    ("pretraining.words.norm", ("cls.predictions.transform.LayerNorm",)),
    ("pretraining.alignment", ("cls.bi_seq_relationship",)),
    ("pretraining.regions.into", ("cls.imagePredictions.transform.dense",)),
    ("pretraining.regions.norm", ("cls.imagePredictions.transform.LayerNorm",)),
    ("pretraining.kinds", ("cls.imagePredictions.decoder",)),
)
WORD_BIAS = ("pretraining.words_bias", ("cls.predictions.bias",))


class ParameterSource(NamedTuple):
    """A parameter by its name on disk, and the vilbert-multi-task tensors that it stacks along the first dimension."""

    name: str
    sources: tuple[str, ...]


def map_parameters(config: ModelConfig, heads: Iterable[HeadSpec]) -> list[ParameterSource]:
    """Return the sources of every parameter of a model, except for heads that vilbert-multi-task does not have."""
    parameters = [ParameterSource(*entry) for entry in EMBEDDINGS]
    if config.task_token != "none":  # noqa: S105
        parameters.append(ParameterSource("trunk.text_embeddings.tasks.weight", (TASK_EMBEDDINGS,)))
    parameters += _weights_and_biases(TRUNK_MODULES)
    for name, source in _single_stream_layers(config):
        parameters += _weights_and_biases(_with_prefixes(LAYER_MODULES, name, source))
    for block in range(config.num_coattention_layers):
        for side, n, s in (("image", 1, "v"), ("text", 2, "t")):
            modules = [(name, tuple(part.format(n=n, s=s) for part in parts)) for name, parts in COATTENTION_MODULES]
            prefixes = f"trunk.blocks.{block}.co_attention.{side}", f"bert.encoder.c_layer.{block}"
            parameters += _weights_and_biases(_with_prefixes(modules, *prefixes))
    if config.num_region_categories:
        parameters += [*_weights_and_biases(PRETRAINING_MODULES), ParameterSource(*WORD_BIAS)]
    if config.word_score:
        parameters += _weights_and_biases([("word_score.last", (WORD_SCORE,))])
    head_names = {head.name for head in heads}
    for head in HEADS:
        if head.name in head_names:
            parameters += _weights_and_biases((f"heads.{head.name}.{name}", (source,)) for name, source in head.modules)
    return parameters


def unused_parameters(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors that no output depends on: a second projection of the queries."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(config.num_coattention_layers):
        for n, width in ((1, config.image_hidden_size), (2, config.text_hidden_size)):
            name = f"bert.encoder.c_layer.{block}.biOutput.q_dense{n}"
            shapes |= {f"{name}.weight": (width, config.bi_hidden_size), f"{name}.bias": (width,)}
    return shapes


def is_bert_only(name: str) -> bool:
    """Return whether a plain BERT has this tensor and the two-stream model has nothing like it."""
    return name.startswith(("bert.pooler.", "cls.seq_relationship.")) or name in (
        "bert.embeddings.position_ids",
        "cls.predictions.decoder.bias",
    )


def normalize_name(name: str, *, add_bert: bool) -> str:
    """Return a name as the latest vilbert-multi-task has it: without ``gamma`` and ``beta``.

    ``add_bert``: the file has the trunk only, whose names lack ``bert.``.
    """
    name = name.replace("gamma", "weight").replace("beta", "bias")
    if add_bert and not name.startswith(("cls.", *(head.prefix + "." for head in HEADS), WORD_SCORE)):
        return f"bert.{name}"
    return name


def task_token_names(guesswhat_row: int, num_rows: int) -> tuple[str, ...]:
    """Return the names of the rows of a task embedding. ``guesswhat_row``: the row for GuessWhat."""
    names = [TASK_TOKENS[row] if row < len(TASK_TOKENS) else f"row.{row}" for row in range(num_rows)]
    default = TASK_TOKENS.index("guesswhat")
    if guesswhat_row != default:
        if default < num_rows:
            names[default] = f"row.{default}"
        names[guesswhat_row] = "guesswhat"
    return tuple(names)


def _single_stream_layers(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Yield our name and the vilbert-multi-task name of each layer; its numbers count on through the blocks."""
    streams = (("text", "layer", config.num_text_layers), ("image", "v_layer", config.num_image_layers))
    for stream, layer, before_blocks in streams:
        for i in range(before_blocks + config.num_coattention_layers):
            block = i - before_blocks
            name = f"trunk.{stream}_layers.{i}" if block < 0 else f"trunk.blocks.{block}.{stream}_layer"
            yield name, f"bert.encoder.{layer}.{i}"


Modules = Iterable[tuple[str, tuple[str, ...]]]


def _with_prefixes(modules: Modules, name: str, source: str) -> Modules:
    return [(f"{name}.{module}", tuple(f"{source}.{part}" for part in parts)) for module, parts in modules]


def _weights_and_biases(modules: Modules) -> list[ParameterSource]:
    return [
        ParameterSource(f"{name}.{parameter}", tuple(f"{source}.{parameter}" for source in sources))
        for name, sources in modules
        for parameter in ("weight", "bias")
    ]
