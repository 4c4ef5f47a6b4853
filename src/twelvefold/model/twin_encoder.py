"""The twin encoder: one vector for each text and one for each image, whose inner product ranks images for a text.

The cross-encoder (the trunk's joint layers and its alignment head) is the paper's score (Eq. 2), but it computes every
pair of a text and an image. The twin encoder reads the two streams before they are joined, so an image's vector is
computed once for all texts. It makes a shortlist, which the cross-encoder ranks. It is fitted after training
(``twelvefold index train``), has a file of its own, and changes no weight of the model. Not in the paper.

P, W and N are the letters of :mod:`twelvefold.schema`; E is the size of a vector.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twelvefold.model import save_load, tensor_files
from twelvefold.model.packing import PackedStates
from twelvefold.model.state_dicts import state_dict_differences
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

FILE = "twin_encoder.safetensors"
"""Name of the file in a model's folder. It is optional."""
FORMAT = "twelvefold twin encoder 1, weights"
"""The key of the weights' digest in the file's metadata."""
HIDDEN_SIZE, VECTOR_SIZE = 512, 256
"""Sizes of a new twin encoder. Twice the hidden size changes no recall on the drawn world's validation images."""
ADVICE = "make it again: twelvefold index train RUN"


class Tower(nn.Module):
    """One vector of length 1 for each sequence: a gated sum over its rows, between the two layers of an MLP."""

    def __init__(self, input_size: int, hidden_size: int, vector_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(input_size)
        self.gate = nn.Linear(input_size, 1)
        self.fc1 = nn.Linear(input_size, hidden_size)
        self.fc2 = nn.Linear(hidden_size, vector_size)

    def forward(self, sequences: PackedStates) -> Tensor:
        """Return the vectors of all sequences, which are packed without padding: (P, E) float32."""
        states, packing = sequences
        x = self.norm(states[: packing.num_real].float())  # (N, W), without spare rows
        hidden = F.gelu(self.fc1(x)) * torch.sigmoid(self.gate(x))
        sequence = torch.from_numpy(packing.sequence).to(hidden.device)  # (N,)
        sums = hidden.new_zeros(packing.num_sequences, hidden.shape[1]).index_add(0, sequence, hidden)
        return F.normalize(self.fc2(sums), dim=1)


class TwinEncoder(nn.Module):
    """Text and image towers. ``scale``: the logarithm of the factor on inner products in the loss. ``digest``: of the
    file that it was read from."""

    def __init__(
        self, text_size: int, image_size: int, hidden_size: int = HIDDEN_SIZE, vector_size: int = VECTOR_SIZE
    ) -> None:
        """``text_size``, ``image_size``: W of the two streams."""
        super().__init__()
        self.text = Tower(text_size, hidden_size, vector_size)
        self.image = Tower(image_size, hidden_size, vector_size)
        self.scale = nn.Parameter(torch.tensor(2.7))  # CLIP's initial temperature of 0.07
        self.digest = ""

    def loss(self, texts: PackedStates, images: PackedStates, true_image: Tensor) -> Tensor:
        """Return the contrastive loss over a batch: the mean of choosing an image for a text, and a text for an image.

        texts: P. images: Q different ones. true_image (P,) int64: the image of each text; every image has a text, and
        of several texts of an image each counts as right. Source: Radford et al., "Learning transferable visual models
        from natural language supervision", ICML 2021, section 2.3.
        """
        scores = self.text(texts) @ self.image(images).T * self.scale.exp()  # (P, Q)
        is_true = F.one_hot(true_image, scores.shape[1]).bool()
        true_texts = scores.masked_fill(~is_true, float("-inf")).logsumexp(dim=0)
        loss: Tensor = (F.cross_entropy(scores, true_image) + (scores.logsumexp(dim=0) - true_texts).mean()) / 2
        return loss

    def write(self, folder: Path) -> None:
        """Write the file to a model's folder, atomically, with the digest of the weights that it goes with."""
        weights = atomic_files.digest_file(folder / save_load.TENSORS)
        # One entry: safetensors writes several in a random order, and equal twin encoders would have different digests.
        tensor_files.write(folder / FILE, self.state_dict(), {FORMAT: weights})

    @classmethod
    def read(cls, folder: Path) -> TwinEncoder | None:
        """Read the twin encoder of a model's folder, in evaluation mode; return None if it has none.

        Raises:
            TwelvefoldError: the file is damaged, or goes with other weights than the folder's.
        """
        path = folder / FILE
        if not path.exists():
            return None
        file = tensor_files.read_safetensors(path)
        if FORMAT not in file.metadata:
            raise TwelvefoldError(f"{path} is not a twin encoder that this version reads; {ADVICE}, or delete it")
        digest = atomic_files.digest_file(folder / save_load.TENSORS)
        if file.metadata[FORMAT] != digest:
            raise TwelvefoldError(
                f"{path} goes with weights of digest {file.metadata[FORMAT]}, but {save_load.TENSORS} has {digest}; "
                f"{ADVICE}, or delete it"
            )
        sizes = [file.tensors.get(name, torch.empty(0, 0)).shape for name in ("text.fc1.weight", "image.fc1.weight")]
        vector_size = len(file.tensors.get("text.fc2.weight", ()))
        with torch.device("meta"):
            twin = cls(sizes[0][-1], sizes[1][-1], sizes[0][0], vector_size)
        if problems := state_dict_differences(file.tensors, twin.state_dict()):
            raise TwelvefoldError(f"{path} does not hold a twin encoder; {ADVICE}:\n  " + "\n  ".join(problems))
        tensor_files.check_finite(path, file.tensors, ADVICE)
        twin.load_state_dict(file.tensors, assign=True)
        twin.digest = atomic_files.digest_file(path)
        return twin.eval().requires_grad_(False)


def require_twin_encoder(twin: TwinEncoder | None, model: str) -> TwinEncoder:
    """Return the twin encoder of ``model``.

    Raises:
        TwelvefoldError: it has none.
    """
    if twin is None:
        raise TwelvefoldError(
            f"{model} has no twin encoder ({FILE}), which makes the shortlist: train one with `twelvefold index train "
            "RUN`, or search without --shortlist"
        )
    return twin
