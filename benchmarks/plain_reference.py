"""What the original project (vilbert-multi-task) computes, in plain PyTorch: the yardstick of the other benchmarks.

Written from the formulas and the parameter names of its checkpoints, without its code and without that of the package:

- texts are padded to the task's limit and images to ``max_regions`` rows; masks add -10000 to the scores of attention;
- query, key and value are separate linear layers, and attention is written out: product, sum, softmax, dropout,
  product; GELU is written out too, and so is layer norm where ``fused_norm`` is off;
- every head is computed for every batch, those of pretraining on every word and region too.

Its training step, search and feature reader are in ``plain_programs.py``.

``copy_weights`` takes the weights of a model of the package, so that both can be compared: logits agree within 4e-6
(``tests/benchmarks/test_plain_reference.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.batch import Batch
from twelvefold.config.model import ModelConfig
from twelvefold.model import Model
from twelvefold.model.save_load import to_disk_names
from twelvefold.vilbert_mt.parameter_names import map_parameters

MASKED = -10000.0


@dataclass(slots=True)
class PaddedInputs:
    """A batch as the original pads it. token_ids (P, L) int64 and its mask (P, L) float32, features (P, R, D),
    locations (P, R, 5) and their mask (P, R) float32; ``task_row``: the row of the task's token."""

    token_ids: Tensor
    text_mask: Tensor
    features: Tensor
    locations: Tensor
    image_mask: Tensor
    task_row: int

    def part(self, start: int, stop: int) -> PaddedInputs:
        """Return the pairs from ``start`` to ``stop``."""
        return PaddedInputs(
            self.token_ids[start:stop],
            self.text_mask[start:stop],
            self.features[start:stop],
            self.locations[start:stop],
            self.image_mask[start:stop],
            self.task_row,
        )


def pad_inputs(batch: Batch, max_tokens: int, max_regions: int, task_row: int) -> PaddedInputs:
    """Return a batch of the package, padded to ``max_tokens`` words and ``max_regions`` rows."""
    count, mask = len(batch.token_ids), batch.region_mask
    token_ids = F.pad(batch.token_ids, (0, max_tokens - batch.token_ids.shape[1]))
    text_mask = F.pad(batch.token_mask.float(), (0, max_tokens - batch.token_mask.shape[1]))
    image_mask = F.pad(mask, (0, max_regions - mask.shape[1]))
    padded = []
    for rows in (batch.features, batch.locations):
        packed = rows if rows.ndim == 2 else rows[mask]  # (N, D): the real rows only
        array = torch.zeros(count, max_regions, packed.shape[1])
        array[image_mask] = packed
        padded.append(array)
    return PaddedInputs(token_ids, text_mask, padded[0], padded[1], image_mask.float(), task_row)


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


class WrittenOutNorm(nn.LayerNorm):
    """Layer norm in separate operations, as the original computes it without a compiled extension."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).pow(2).mean(-1, keepdim=True)
        return self.weight * ((x - mean) / torch.sqrt(variance + self.eps)) + self.bias


class Builder:
    """Makes layers with the sizes of a configuration."""

    def __init__(self, config: ModelConfig, fused_norm: bool) -> None:
        self.config, self.norm_class = config, nn.LayerNorm if fused_norm else WrittenOutNorm
        self.text, self.image, self.joint = config.text_hidden_size, config.image_hidden_size, config.bi_hidden_size

    def norm(self, size: int) -> nn.LayerNorm:
        return self.norm_class(size, eps=self.config.layer_norm_eps)

    def dropout(self) -> nn.Dropout:
        return nn.Dropout(self.config.dropout)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    return x.view(*x.shape[:2], num_heads, -1).permute(0, 2, 1, 3)  # (P, S, W) -> (P, N, S, W / N)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, num_heads: int, dropout: nn.Dropout) -> Tensor:
    """query (P, Q, W), key and value (P, S, W), mask (P, 1, 1, S), which is added to the scores -> (P, Q, W)."""
    q, k, v = (split_heads(x, num_heads) for x in (query, key, value))
    scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    probabilities = dropout(torch.softmax(scores + mask, dim=-1))
    context = torch.matmul(probabilities, v).permute(0, 2, 1, 3).contiguous()
    return context.view(*context.shape[:2], -1)


class Output(nn.Module):
    """Linear, dropout, sum, layer norm."""

    def __init__(self, b: Builder, inputs: int, size: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm, self.dropout = nn.Linear(inputs, size), b.norm(size), b.dropout()

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(self.dropout(self.dense(hidden)) + x)
        return result


class Dense(nn.Module):
    """A linear layer called ``dense``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dense(x)
        return result


class SelfAttention(nn.Module):
    def __init__(self, b: Builder, size: int, num_heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.num_heads, self.dropout = num_heads, b.dropout()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return attend(self.query(x), self.key(x), self.value(x), mask, self.num_heads, self.dropout)


class Layer(nn.Module):
    """A layer of one stream."""

    def __init__(self, b: Builder, size: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(b, size, num_heads), "output": Output(b, size, size)})
        self.intermediate, self.output = Dense(size, ffn_dim), Output(b, ffn_dim, size)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        result: Tensor = self.output(gelu(self.intermediate(x)), x)
        return result


class BiAttention(nn.Module):
    """Index 1 is the image, index 2 the text."""

    def __init__(self, b: Builder) -> None:
        super().__init__()
        self.query1, self.key1, self.value1 = (nn.Linear(b.image, b.joint) for _ in range(3))
        self.query2, self.key2, self.value2 = (nn.Linear(b.text, b.joint) for _ in range(3))
        self.dropout1, self.dropout2, self.num_heads = b.dropout(), b.dropout(), b.config.bi_attention_heads

    def forward(self, image: Tensor, text: Tensor, image_mask: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the text reads in the image, and what the image reads in the text."""
        q1, k1, v1 = self.query1(image), self.key1(image), self.value1(image)
        q2, k2, v2 = self.query2(text), self.key2(text), self.value2(text)
        return (
            attend(q2, k1, v1, image_mask, self.num_heads, self.dropout1),
            attend(q1, k2, v2, text_mask, self.num_heads, self.dropout2),
        )


class BiOutput(nn.Module):
    """``q_dense1`` and ``q_dense2`` are in every checkpoint and in no output."""

    def __init__(self, b: Builder) -> None:
        super().__init__()
        self.dense1, self.LayerNorm1, self.dropout1 = nn.Linear(b.joint, b.image), b.norm(b.image), b.dropout()
        self.q_dense1 = nn.Linear(b.joint, b.image)
        self.dense2, self.LayerNorm2, self.dropout2 = nn.Linear(b.joint, b.text), b.norm(b.text), b.dropout()
        self.q_dense2 = nn.Linear(b.joint, b.text)

    def forward(self, for_image: Tensor, image: Tensor, for_text: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return (
            self.LayerNorm1(self.dropout1(self.dense1(for_image)) + image),
            self.LayerNorm2(self.dropout2(self.dense2(for_text)) + text),
        )


class ConnectionLayer(nn.Module):
    """Co-attention, and a feed-forward layer of each stream."""

    def __init__(self, b: Builder) -> None:
        super().__init__()
        v, t = b.config.image_ffn_dim, b.config.text_ffn_dim
        self.biattention, self.biOutput = BiAttention(b), BiOutput(b)
        self.v_intermediate, self.v_output = Dense(b.image, v), Output(b, v, b.image)
        self.t_intermediate, self.t_output = Dense(b.text, t), Output(b, t, b.text)

    def forward(self, image: Tensor, text: Tensor, image_mask: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        for_text, for_image = self.biattention(image, text, image_mask, text_mask)
        image, text = self.biOutput(for_image, image, for_text, text)
        image = self.v_output(gelu(self.v_intermediate(image)), image)
        return image, self.t_output(gelu(self.t_intermediate(text)), text)


class Encoder(nn.Module):
    """Text layers before the first connection, then by turns a connection layer, an image layer and a text layer."""

    def __init__(self, b: Builder) -> None:
        super().__init__()
        c = b.config
        num_text, num_image = (n + c.num_coattention_layers for n in (c.num_text_layers, c.num_image_layers))
        self.first_text, self.first_image = c.num_text_layers, c.num_image_layers
        self.layer = nn.ModuleList(Layer(b, b.text, c.text_attention_heads, c.text_ffn_dim) for _ in range(num_text))
        self.v_layer = nn.ModuleList(
            Layer(b, b.image, c.image_attention_heads, c.image_ffn_dim) for _ in range(num_image)
        )
        self.c_layer = nn.ModuleList(ConnectionLayer(b) for _ in range(c.num_coattention_layers))

    def forward(self, image: Tensor, text: Tensor, image_mask: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The text of a single caption is expanded to all images after its first layers, as in retrieval."""
        for layer in self.layer[: self.first_text]:
            text = layer(text, text_mask)
        for layer in self.v_layer[: self.first_image]:
            image = layer(image, image_mask)
        if len(text) != len(image):
            text = text.expand(len(image), -1, -1).contiguous()
            text_mask = text_mask.expand(len(image), -1, -1, -1).contiguous()
        later = zip(self.c_layer, self.v_layer[self.first_image :], self.layer[self.first_text :], strict=True)
        for connection, image_layer, text_layer in later:
            image, text = connection(image, text, image_mask, text_mask)
            image, text = image_layer(image, image_mask), text_layer(text, text_mask)
        return image, text


class TextEmbeddings(nn.Module):
    def __init__(self, b: Builder, num_tasks: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(b.config.vocab_size, b.text)
        self.position_embeddings = nn.Embedding(b.config.max_position_embeddings, b.text)
        self.token_type_embeddings = nn.Embedding(2, b.text)
        self.task_embeddings = nn.Embedding(num_tasks, b.text)
        self.LayerNorm, self.dropout = b.norm(b.text), b.dropout()

    def forward(self, token_ids: Tensor, task_row: int) -> Tensor:
        positions = torch.arange(token_ids.shape[1]).expand_as(token_ids)
        x = self.word_embeddings(token_ids) + self.position_embeddings(positions)
        x = x + self.token_type_embeddings(torch.zeros_like(token_ids))
        task = self.task_embeddings(torch.full((len(x), 1), task_row))
        result: Tensor = self.dropout(self.LayerNorm(torch.cat([x[:, :1], task, x[:, 1:]], dim=1)))
        return result


class ImageEmbeddings(nn.Module):
    def __init__(self, b: Builder) -> None:
        super().__init__()
        self.image_embeddings = nn.Linear(b.config.feature_size, b.image)
        self.image_location_embeddings = nn.Linear(5, b.image)
        self.LayerNorm, self.dropout = b.norm(b.image), b.dropout()

    def forward(self, features: Tensor, locations: Tensor) -> Tensor:
        x = self.image_embeddings(features) + self.image_location_embeddings(locations)
        result: Tensor = self.dropout(self.LayerNorm(x))
        return result


class Trunk(nn.Module):
    def __init__(self, b: Builder, num_tasks: int) -> None:
        super().__init__()
        self.embeddings, self.v_embeddings, self.encoder = TextEmbeddings(b, num_tasks), ImageEmbeddings(b), Encoder(b)
        self.t_pooler, self.v_pooler = Dense(b.text, b.joint), Dense(b.image, b.joint)

    def forward(self, inputs: PaddedInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return the final states of words and regions, and the product of their pooled vectors."""
        text_mask = F.pad(inputs.text_mask, (1, 0), value=1.0)  # the task's token
        added = [(1.0 - mask[:, None, None, :]) * MASKED for mask in (inputs.image_mask, text_mask)]
        text = self.embeddings(inputs.token_ids, inputs.task_row)
        image = self.v_embeddings(inputs.features, inputs.locations)
        image, text = self.encoder(image, text, *added)
        return text, image, torch.relu(self.t_pooler(text[:, 0])) * torch.relu(self.v_pooler(image[:, 0]))


class Transform(nn.Module):
    def __init__(self, b: Builder, size: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(size, size), b.norm(size)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(gelu(self.dense(x)))
        return result


class Predictions(nn.Module):
    """A pretraining head on states. Without ``categories`` its matrix is the word embeddings."""

    def __init__(self, b: Builder, size: int, categories: int = 0) -> None:
        super().__init__()
        self.transform = Transform(b, size)
        if categories:
            self.decoder = nn.Linear(size, categories)
        else:
            self.decoder = nn.Linear(size, b.config.vocab_size, bias=False)
            self.bias = nn.Parameter(torch.zeros(b.config.vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.transform(x))
        return logits + self.bias if self.decoder.bias is None else logits


class Classifier(nn.Module):
    def __init__(self, b: Builder, inputs: int, outputs: int) -> None:
        super().__init__()
        size = b.config.head_hidden_size
        self.logit_fc = nn.Sequential(nn.Linear(inputs, size), nn.GELU(), b.norm(size), nn.Linear(size, outputs))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.logit_fc(x)
        return result


class PlainVilbert(nn.Module):
    """The multi-task model with all its heads, under the parameter names of its checkpoints."""

    def __init__(self, config: ModelConfig, num_tasks: int, answers: tuple[int, int], fused_norm: bool = True) -> None:
        """``answers``: outputs of the heads of VQAv2 and GQA."""
        super().__init__()
        b = Builder(config, fused_norm)
        self.bert, self.dropout = Trunk(b, num_tasks), b.dropout()
        self.cls = nn.ModuleDict(
            {
                "predictions": Predictions(b, b.text),
                "bi_seq_relationship": nn.Linear(b.joint, 2),
                "imagePredictions": Predictions(b, b.image, config.num_region_categories),
            }
        )
        self.tie_weights()
        self.vil_prediction = Classifier(b, b.joint, answers[0])
        self.vil_prediction_gqa = Classifier(b, b.joint, answers[1])
        self.vil_binary_prediction = Classifier(b, 2 * b.joint, 2)
        self.vil_logit, self.vil_tri_prediction = nn.Linear(b.joint, 1), nn.Linear(b.joint, 3)
        self.vision_logit, self.linguisic_logit = nn.Linear(b.image, 1), nn.Linear(b.text, 1)

    def tie_weights(self) -> None:
        """Make the matrix of the pretraining head on words the word embeddings."""
        head = self.cls["predictions"]
        assert isinstance(head, Predictions)  # noqa: S101 - for the type checker
        head.decoder.weight = self.bert.embeddings.word_embeddings.weight

    def forward(self, inputs: PaddedInputs) -> dict[str, Tensor]:
        """Return the logits of all heads by the package's name of the head; the batch's task needs one of them."""
        text, image, fused = self.bert(inputs)
        for_pretraining = self.dropout(fused)
        logits = {
            "words": self.cls["predictions"](text),
            "regions": self.cls["imagePredictions"](image),
            "alignment": self.cls["bi_seq_relationship"](for_pretraining),
        }
        fused = self.dropout(fused)
        logits["vqa"], logits["gqa"] = self.vil_prediction(fused), self.vil_prediction_gqa(fused)
        if len(fused) % 2 == 0:
            logits["nlvr2"] = self.vil_binary_prediction(fused.view(len(fused) // 2, -1))
        logits["retrieval"], logits["snli_ve"] = self.vil_logit(fused), self.vil_tri_prediction(fused)
        region_mask = ((1.0 - inputs.image_mask) * MASKED).unsqueeze(2)
        logits["grounding"] = self.vision_logit(self.dropout(image)) + region_mask
        logits["word_score"] = self.linguisic_logit(self.dropout(text))
        return logits


def copy_weights(model: Model, *, fused_norm: bool = True) -> PlainVilbert:
    """Return the reference with copies of the weights of a model that has all published heads.

    Raises:
        ValueError: the model lacks parameters that the reference has, or has others.
    """
    answers = len(model.head_specs["vqa"].outputs), len(model.head_specs["gqa"].outputs)
    with torch.device("meta"):
        reference = PlainVilbert(model.config, len(model.task_tokens), answers, fused_norm)
    tensors, state = to_disk_names(model.state_dict()), dict[str, Tensor]()
    for name, sources in map_parameters(model.config, model.head_specs.values()):
        for source, part in zip(sources, tensors.pop(name).chunk(len(sources)), strict=True):
            state[source] = part.clone()
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    unused = {name: torch.zeros(p.shape) for name, p in reference.state_dict().items() if ".q_dense" in name}
    reference.load_state_dict(state | unused, assign=True)
    reference.tie_weights()
    if tensors:
        raise ValueError(f"the reference has no parameters for {', '.join(tensors)}")
    return reference.train(model.training)
