"""Packed sequences: texts and images of unequal lengths, one after the other without padding.

Every layer but attention works row by row, so it computes real rows only. Attention works sequence by sequence: it
arranges sequences of similar lengths in groups, pads within a group, and masks what it padded. Letters in shapes are
those of :mod:`twelvefold.schema`; N is the number of packed rows, S the width of the padded form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]

GROUP_NUMBERS = 1 << 15
"""Rows times hidden size from which a CPU attends to a group of sequences at once. Smaller groups pad less, larger ones
call fewer kernels. Measured on a CPU with 7 to 40 rows a sequence: best with some 250 rows of 128 numbers, and with
single sequences of 1,024 numbers."""


class Packing:
    """How P sequences lie in rows (N, ...): one after the other.

    Usually without padding; ``lengths`` (P,) are then the rows of each sequence, on the host, so that no device is
    asked. In an exported graph, and where attention weights are returned, all P * S rows are there, and ``mask``
    (P, S) is True for the real ones.

    On a CPU, ``num_spare`` rows follow that belong to no sequence; their values are finite and have no effect. oneDNN
    compiles a kernel for each shape, which takes longer than a small product, so N takes few different values.

    first (P,) int64: the row with which each sequence begins. column (N,) int64: each row's place in its sequence.
    """

    lengths: Indices
    mask: Tensor | None

    def __init__(self, lengths: Indices, device: torch.device, width: int | None = None) -> None:
        """``width``: S where a padded form is wider than the longest sequence."""
        ends = lengths.cumsum()
        self.lengths, self.starts, self.device, self.mask = lengths, ends - lengths, device, None
        self.num_sequences, self.length = len(lengths), int(lengths.max(initial=0)) if width is None else width
        self.num_real = int(lengths.sum())
        self.num_spare = 0 if self.is_grid or device.type != "cpu" else _round_up(self.num_real) - self.num_real
        self.num_rows = self.num_real + self.num_spare
        self.sequence: Indices = np.repeat(np.arange(len(lengths)), lengths)
        self.first = torch.from_numpy(self.starts).to(device)
        self.column = self.with_spare(np.arange(self.num_real) - self.starts[self.sequence])
        self._plans: dict[int, AttentionPlan] = {}

    @classmethod
    def with_padding(cls, mask: Tensor) -> Packing:
        """Return the packing of rows that keep their padding: P * S rows, of which ``mask`` (P, S) names the real."""
        packing = cls.__new__(cls)
        packing.mask, packing.device = mask, mask.device
        packing.num_sequences, packing.length = mask.shape
        packing.num_real = packing.num_rows = packing.num_sequences * packing.length
        packing.num_spare = 0
        packing._plans = {}
        packing.first = torch.arange(packing.num_sequences, device=mask.device) * packing.length
        packing.column = torch.arange(packing.length, device=mask.device).expand(mask.shape).flatten()  # -> (P * S,)
        return packing

    @property
    def is_grid(self) -> bool:
        """Whether the rows can be viewed as (P, S): they keep their padding, or all sequences are equally long."""
        return self.mask is not None or self.num_real == self.num_sequences * self.length

    def plan(self, hidden_size: int) -> AttentionPlan:
        """Return the plan of attention within the sequences. ``hidden_size``: of the attention."""
        if hidden_size not in self._plans:
            self._plans[hidden_size] = AttentionPlan(self, self, hidden_size)
        return self._plans[hidden_size]

    def pack(self, padded: Tensor) -> Tensor:
        """Return the rows of padded sequences: (P, S, ...) -> (N, ...)."""
        rows = padded.flatten(0, 1)  # (P, S, ...) -> (P * S, ...)
        return rows if self.is_grid else rows.index_select(0, self._grid_rows())

    def pad(self, rows: Tensor) -> Tensor:
        """Return padded sequences, with zeros where there is no row: (N, ...) -> (P, S, ...)."""
        if not self.is_grid:
            zeros = rows.new_zeros(self.num_sequences * self.length, *rows.shape[1:])
            rows = zeros.index_copy(0, self._grid_rows()[: self.num_real], rows[: self.num_real])
        return rows.view(self.num_sequences, self.length, *rows.shape[1:])  # (P * S, ...) -> (P, S, ...)

    def insert_second_row(self, rows: Tensor, row: Tensor) -> tuple[Tensor, Packing]:
        """Insert ``row`` (W,) after the first row of every sequence: (N, W) -> (N + P, W), with the new packing."""
        if self.mask is not None:
            x = self.pad(rows)
            second = row.expand(x.shape[0], 1, -1)  # (W,) -> (P, 1, W)
            rows = torch.cat([x[:, :1], second, x[:, 1:]], dim=1).flatten(0, 1)  # (P * (S + 1), W)
            return rows, Packing.with_padding(torch.cat([self.mask[:, :1], self.mask], dim=1))
        packing = Packing(self.lengths + 1, self.device, self.length + 1)
        positions = torch.arange(self.num_real, device=self.device) + self._on_device(self.sequence)
        positions += self.column[: self.num_real] > 0
        second = row.expand(packing.num_rows, -1)  # (W,) -> (N + P, W)
        return second.index_copy(0, positions, rows[: self.num_real]), packing

    def join(self, other: Packing) -> tuple[Packing, Tensor, Tensor]:
        """Return the packing of sequences that are each one of this packing and then the one of ``other`` with the same
        number, and where the real rows of this packing and of the other go."""
        if self.mask is not None and other.mask is not None:
            joined = Packing.with_padding(torch.cat([self.mask, other.mask], dim=1))
            positions = joined.pad(torch.arange(joined.num_rows, device=self.device))  # (P, S + S')
            return joined, positions[:, : self.length].flatten(), positions[:, self.length :].flatten()  # -> (P * S,)
        joined = Packing(self.lengths + other.lengths, self.device)
        starts = joined.starts[self.sequence], (joined.starts + self.lengths)[other.sequence]
        mine, others = (
            self._on_device(start) + packing.column[: packing.num_real]
            for start, packing in zip(starts, (self, other), strict=True)
        )
        return joined, mine, others

    def first_rows(self) -> Packing:
        """Return the packing of the first row of every sequence."""
        if self.mask is not None:
            return Packing.with_padding(torch.ones_like(self.mask[:, :1]))
        return Packing(np.ones_like(self.lengths), self.device)

    def select(self, sequences: Indices) -> tuple[Packing, Tensor]:
        """Return the packing of some sequences, which may be named several times, and their rows (N',) int64."""
        if self.mask is not None:
            chosen = self._on_device(sequences)
            packing = Packing.with_padding(self.mask[chosen])
            return packing, self.first[chosen].repeat_interleave(self.length) + packing.column  # (P' * S,)
        packing = Packing(self.lengths[sequences], self.device)
        return packing, packing.with_spare(self.starts[sequences][packing.sequence]) + packing.column

    def _grid_rows(self) -> Tensor:
        """(N,) int64: the place of each row among P * S padded rows."""
        return self.with_spare(self.sequence * self.length) + self.column

    def with_spare(self, indices: Indices) -> Tensor:
        """Return numbers of the real rows as (N,), with zeros for the spare rows."""
        return self._on_device(np.concatenate([indices, np.zeros(self.num_spare, dtype=np.int64)]))

    def _on_device(self, indices: Indices) -> Tensor:
        return torch.from_numpy(indices).to(self.device)


class PackedStates(NamedTuple):
    """States (N, W) of packed sequences."""

    states: Tensor
    packing: Packing

    def select(self, sequences: Indices) -> PackedStates:
        """Return the states of some sequences, which may be named several times."""
        packing, rows = self.packing.select(sequences)
        return PackedStates(self.states.index_select(0, rows), packing)


class Group(NamedTuple):
    """Sequences that attention computes at once: the numbers of query and key rows, padding included, and the mask
    (sequences, 1, 1, keys) of real keys; None if all are."""

    num_sequences: int
    num_queries: int
    num_keys: int
    mask: Tensor | None


class AttentionPlan:
    """Which rows attend to which: each sequence of ``queries`` to the sequence of ``keys`` with the same number.

    The rows of a group are contiguous. ``query_rows`` and ``key_rows`` say where each packed row goes (a spare one:
    after all others); None: where it is already.
    """

    def __init__(self, queries: Packing, keys: Packing, hidden_size: int) -> None:
        """``hidden_size``: of the attention, from which the size of the groups follows."""
        self.hidden_size = hidden_size
        self.query_rows: Tensor | None = None
        self.key_rows: Tensor | None = None
        self.num_spare = queries.num_spare
        if queries.is_grid and keys.is_grid:
            mask = None if keys.mask is None else keys.mask[:, None, None, :]
            self.groups = [Group(queries.num_sequences, queries.length, keys.length, mask)]
            return
        device, sequences = queries.device, _group(queries.lengths, keys.lengths, hidden_size, queries.device)
        sizes = [(len(ids), int(queries.lengths[ids].max()), int(keys.lengths[ids].max())) for ids in sequences]
        self.groups = [
            Group(*size, _mask(keys.lengths[ids], size[2], device)) for ids, size in zip(sequences, sizes, strict=True)
        ]
        self.query_rows = _rows(queries, sequences, [size[1] for size in sizes])
        self.key_rows = self.query_rows if keys is queries else _rows(keys, sequences, [size[2] for size in sizes])

    @property
    def query_sizes(self) -> list[int]:
        """The number of query rows of each group, padding included."""
        return [group.num_sequences * group.num_queries for group in self.groups]

    @property
    def key_sizes(self) -> list[int]:
        """The number of key rows of each group, padding included."""
        return [group.num_sequences * group.num_keys for group in self.groups]

    def arrange_queries(self, rows: Tensor) -> Tensor:
        """Bring packed query rows (N, W) into the order of the groups, with zeros as padding. Spare rows come last."""
        return _arrange(rows, self.query_rows, sum(self.query_sizes))

    def arrange_keys(self, rows: Tensor) -> Tensor:
        """Bring packed key rows (N, W) into the order of the groups, with zeros as padding. Spare rows come last."""
        return _arrange(rows, self.key_rows, sum(self.key_sizes))

    def restore_queries(self, arranged: Sequence[Tensor]) -> Tensor:
        """Undo :meth:`arrange_queries`, for the rows of each group."""
        if self.query_rows is not None:
            rows = torch.cat([*arranged])
            return rows.index_select(0, self.query_rows.clamp(max=len(rows) - 1))
        if len(arranged) == 1 and not self.num_spare:
            return arranged[0]
        return torch.cat([*arranged, arranged[0].new_zeros(self.num_spare, arranged[0].shape[1])])


def _group(queries: Indices, keys: Indices, hidden_size: int, device: torch.device) -> list[Indices]:
    """Divide sequences with these lengths into groups of similar lengths; in their order if each is a group."""
    lengths = queries + keys
    if device.type != "cpu":  # one masked kernel costs less there than many small ones
        return [np.arange(len(lengths))]
    order = lengths.argsort(kind="stable")
    min_rows = GROUP_NUMBERS / hidden_size
    if (lengths >= min_rows).all():
        return list(np.arange(len(lengths))[:, None])
    group_of = (np.maximum(lengths[order].cumsum() - 1, 0) // min_rows).astype(np.int64)
    return np.split(order, np.flatnonzero(np.diff(group_of)) + 1)


def _mask(lengths: Indices, longest: int, device: torch.device) -> Tensor | None:
    if (lengths == longest).all():
        return None
    return torch.from_numpy(np.arange(longest) < lengths[:, None]).to(device)[:, None, None, :]


def _rows(packing: Packing, groups: Sequence[Indices], longest: Sequence[int]) -> Tensor | None:
    """Return where each packed row goes (N,): sequences in the order of the groups, padded to ``longest`` in each."""
    order, padded = np.concatenate(groups), np.repeat(longest, [len(ids) for ids in groups])
    starts = np.empty_like(packing.starts)
    starts[order] = padded.cumsum() - padded
    if padded.sum() == packing.num_real and (starts == packing.starts).all():
        return None
    real = np.repeat(starts, packing.lengths) + np.arange(packing.num_real) - packing.starts[packing.sequence]
    return torch.from_numpy(np.append(real, np.full(packing.num_spare, padded.sum()))).to(packing.device)


def _arrange(rows: Tensor, positions: Tensor | None, size: int) -> Tensor:
    """Return ``size`` rows, and after them what spare rows there are."""
    if positions is None:
        return rows
    return rows.new_zeros(size + 1, rows.shape[1]).index_copy(0, positions, rows)


def _round_up(num_rows: int) -> int:
    """Return the next number of which there are eight between powers of two: at most an eighth more."""
    step = 1 << max(num_rows.bit_length() - 4, 0)
    return -(-num_rows // step) * step
