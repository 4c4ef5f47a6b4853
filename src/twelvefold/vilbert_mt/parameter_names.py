"""The published ViLBERT and 12-in-1 files at our border: their parameter names, task numbers and output orders.

Inside, everything has a name; the official numbers are here and nowhere else. One table of patterns is read in both
directions: a :class:`Place` says which official tensors, stacked, are one of ours. No tensor is ever transposed.
In co-attention the official index 1 is the image side and 2 the text side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from twelvefold.config.model import ModelConfig
from twelvefold.schema import FamilyName, HeadSpec

WORDS = "bert.embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
"""The one tie: both names are the same tensor. Where a file has two values, the official loader keeps DECODER's."""

TASK_ROWS = (
    "row.0", "vqav2", "vgqa", "visual_dialog", "visual7w", "vcr_answer", "vcr_rationale", "coco", "flickr30k",
    "refcoco", "refcoco+", "refcocog", "nlvr2", "snli_ve", "guesswhat_answers", "gqa", "foil", "guesswhat",
    "flickr30k_entities", "row.19",
)  # fmt: skip
"""The rows of the official task embedding by name: the place is the official task number. Rows without a task are
``row.<number>``. Uncertain: the original's demonstration feeds row 16 for GuessWhat, its task file says 17."""


class OfficialHead(NamedTuple):
    """A task head of the official multi-task model. ``parts``: our modules and theirs."""

    name: str
    kind: FamilyName
    form: Literal["mlp", "linear"]
    prefix: str
    pairs: int = 1
    outputs: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        if self.form == "mlp":
            inside = (("into", "0"), ("norm", "2"), ("last", "3"))  # 1 is the activation
            return tuple((ours, f"{self.prefix}.logit_fc.{theirs}") for ours, theirs in inside)
        return (("last", self.prefix),)

    @property
    def last(self) -> str:
        """The official name of the weight whose rows are the outputs."""
        return f"{self.parts[-1][1]}.weight"


HEADS = (
    OfficialHead("vqa", "answers", "mlp", "vil_prediction"),
    OfficialHead("gqa", "answers", "mlp", "vil_prediction_gqa"),
    OfficialHead("nlvr2", "verification", "mlp", "vil_binary_prediction", 2, ("False", "True")),
    OfficialHead("retrieval", "retrieval", "linear", "vil_logit"),
    OfficialHead(
        "snli_ve", "verification", "linear", "vil_tri_prediction", 1, ("contradiction", "neutral", "entailment")
    ),
    OfficialHead("grounding", "grounding", "linear", "vision_logit"),
)
WORD_SCORE = "linguisic_logit"
"""The misspelling is the official one."""

LAYER = (
    ("projections", ("attention.self.query", "attention.self.key", "attention.self.value")),
    ("out", ("attention.output.dense",)),
    ("residual.norm", ("attention.output.LayerNorm",)),
    ("feed_forward.into", ("intermediate.dense",)),
    ("feed_forward.out", ("output.dense",)),
    ("feed_forward.residual.norm", ("output.LayerNorm",)),
)
"""A layer of one stream, text or image."""

SIDE = (
    ("projections", ("biattention.query{n}", "biattention.key{n}", "biattention.value{n}")),
    ("out", ("biOutput.dense{n}",)),
    ("residual.norm", ("biOutput.LayerNorm{n}",)),
    ("feed_forward.into", ("{s}_intermediate.dense",)),
    ("feed_forward.out", ("{s}_output.dense",)),
    ("feed_forward.residual.norm", ("{s}_output.LayerNorm",)),
)
"""One side of a co-attention layer: ``n`` is 1 and ``s`` is v for the image, 2 and t for the text."""

TRUNK = (
    ("trunk.text_embeddings.norm", ("bert.embeddings.LayerNorm",)),
    ("trunk.image_embeddings.features", ("bert.v_embeddings.image_embeddings",)),
    ("trunk.image_embeddings.locations", ("bert.v_embeddings.image_location_embeddings",)),
    ("trunk.image_embeddings.norm", ("bert.v_embeddings.LayerNorm",)),
    ("trunk.text_pooler", ("bert.t_pooler.dense",)),
    ("trunk.image_pooler", ("bert.v_pooler.dense",)),
)

EMBEDDINGS = (
    ("trunk.text_embeddings.words.weight", (WORDS,)),
    ("trunk.text_embeddings.positions.weight", ("bert.embeddings.position_embeddings.weight",)),
    ("trunk.text_embeddings.segments.weight", ("bert.embeddings.token_type_embeddings.weight",)),
)
TASK_EMBEDDINGS = "bert.embeddings.task_embeddings.weight"

PRETRAINING = (
    ("pretraining.words.into", ("cls.predictions.transform.dense",)),
    ("pretraining.words.norm", ("cls.predictions.transform.LayerNorm",)),
    ("pretraining.alignment", ("cls.bi_seq_relationship",)),
    ("pretraining.regions.into", ("cls.imagePredictions.transform.dense",)),
    ("pretraining.regions.norm", ("cls.imagePredictions.transform.LayerNorm",)),
    ("pretraining.kinds", ("cls.imagePredictions.decoder",)),
)
WORDS_BIAS = ("pretraining.words_bias", ("cls.predictions.bias",))


class Place(NamedTuple):
    """One of our tensors and the official ones that it is, one above the other along the first dimension."""

    ours: str
    official: tuple[str, ...]


def places(config: ModelConfig, heads: Iterable[HeadSpec]) -> list[Place]:
    """Where every tensor of a model is in an official file. A head that the official model has not is left out."""
    found = [Place(*entry) for entry in EMBEDDINGS]
    if config.task_token != "none":  # noqa: S105
        found.append(Place("trunk.text_embeddings.tasks.weight", (TASK_EMBEDDINGS,)))
    found += _linear(TRUNK)
    for ours, official in _layers(config):
        found += _linear((f"{ours}.{part}", tuple(f"{official}.{one}" for one in theirs)) for part, theirs in LAYER)
    for block in range(config.num_coattention_layers):
        official = f"bert.encoder.c_layer.{block}"
        for side, n, s in (("image", 1, "v"), ("text", 2, "t")):
            found += _linear(
                (
                    f"trunk.blocks.{block}.co_attention.{side}.{part}",
                    tuple(f"{official}.{one.format(n=n, s=s)}" for one in theirs),
                )
                for part, theirs in SIDE
            )
    if config.num_region_categories:
        found += [*_linear(PRETRAINING), Place(*WORDS_BIAS)]
    if config.word_score:
        found += _linear([("word_score.last", (WORD_SCORE,))])
    named = {head.name for head in heads}
    for head in HEADS:
        if head.name in named:
            found += _linear((f"heads.{head.name}.{part}", (theirs,)) for part, theirs in head.parts)
    return found


def idle(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Official tensors that take no part in any output, with their shapes: a second projection of the queries."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(config.num_coattention_layers):
        for n, width in ((1, config.image_hidden_size), (2, config.text_hidden_size)):
            name = f"bert.encoder.c_layer.{block}.biOutput.q_dense{n}"
            shapes |= {f"{name}.weight": (width, config.bi_hidden_size), f"{name}.bias": (width,)}
    return shapes


def plain_bert_only(name: str) -> bool:
    """Whether a plain BERT has this tensor and the two-stream model has nothing like it."""
    return name.startswith(("bert.pooler.", "cls.seq_relationship.")) or name in (
        "bert.embeddings.position_ids",
        "cls.predictions.decoder.bias",
    )


def current_name(name: str, *, bare_trunk: bool) -> str:
    """A name as the current official code has it: without ``module.``, ``gamma`` and ``beta``, with ``bert.``."""
    name = name.removeprefix("module.").replace("gamma", "weight").replace("beta", "bias")
    if bare_trunk and not name.startswith(("cls.", *(head.prefix + "." for head in HEADS), WORD_SCORE)):
        return f"bert.{name}"
    return name


def rows(guesswhat: int = TASK_ROWS.index("guesswhat"), count: int = len(TASK_ROWS)) -> tuple[str, ...]:
    """The names of ``count`` rows of the task embedding; ``guesswhat``: which of them GuessWhat reads."""
    names = [TASK_ROWS[row] if row < len(TASK_ROWS) else f"row.{row}" for row in range(count)]
    default = TASK_ROWS.index("guesswhat")
    if guesswhat != default:
        if default < count:
            names[default] = f"row.{default}"
        names[guesswhat] = "guesswhat"
    return tuple(names)


def _layers(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Our name and the official one of every layer of one stream: the official ones count through."""
    for stream, official, alone in (
        ("text", "layer", config.num_text_layers),
        ("image", "v_layer", config.num_image_layers),
    ):
        for index in range(alone + config.num_coattention_layers):
            ours = f"trunk.{stream}_layers.{index}" if index < alone else f"trunk.blocks.{index - alone}.{stream}_layer"
            yield ours, f"bert.encoder.{official}.{index}"


def _linear(entries: Iterable[tuple[str, tuple[str, ...]]]) -> list[Place]:
    """A weight and a bias for every module."""
    return [
        Place(f"{ours}.{kind}", tuple(f"{one}.{kind}" for one in official))
        for ours, official in entries
        for kind in ("weight", "bias")
    ]
