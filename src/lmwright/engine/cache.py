"""Keys and values of running sequences: one contiguous slot a sequence, growing geometrically."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lmwright.models.layers import attention
from lmwright.models.layers.attention import AttentionRule

# Capacities start here and double: a short answer never moves its neighbours' keys.
FEWEST_POSITIONS = 64
FEWEST_SLOTS = 8


@dataclass
class _Pass:
    """What the forward pass under way does: where its rows' new keys go, and who sees what."""

    first_row: int
    new_lengths: list[int]
    """Length of each row of the pass once it is done."""
    joining: bool
    positions: Tensor
    """(B, T) position of each input token."""
    rules: dict[int | None, Tensor] = field(default_factory=dict)
    """(B, 1, 1, S) additive masks by window, built once and shared by the layers."""
    bias: Tensor | None = None
    """(B or 1, H, T, S) of ALiBi or T5, built once and shared by the layers."""


class KVCache:
    """Rows 0 .. len(cache) - 1 are the running sequences, without gaps.

    A forward pass either lets new rows join with their whole prompts (`joining`) or appends one
    token to every row (`growing`). Lengths change only when the pass succeeded, so one that
    raised leaves the cache as it was.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        # Per layer (slots, Hkv, positions, K); made when a layer's first keys tell the shape.
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._pass: _Pass | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @contextlib.contextmanager
    def joining(self, lengths: Items[int], device: torch.device) -> Iterator[Tensor]:
        """A pass over the prompts of new rows, padded on the right to the longest.

        Args:
            lengths: real tokens of each prompt, at least 1.
            device: where the model computes.

        Yields:
            (B, T) position ids for the model.
        """
        positions = torch.arange(max(lengths), device=device).expand(len(lengths), -1)
        with self._under_way(_Pass(len(self), list(lengths), True, positions)):
            yield positions

    @contextlib.contextmanager
    def growing(self, device: torch.device) -> Iterator[Tensor]:
        """A pass over one new token of every row; yields (B, 1) position ids for the model."""
        positions = torch.tensor(self.lengths, device=device)[:, None]
        with self._under_way(_Pass(0, [n + 1 for n in self.lengths], False, positions)):
            yield positions

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """Store the new keys and values of `layer` and attend over all of each row's.

        Args:
            layer: index of the layer.
            q: (B, H, T, K); k, v: (B, Hkv, T, K), rows in the order of the pass.
            rule: the layer's rule; its mask must be free, padding is the cache's business.

        Returns:
            (B, H, T, K).
        """
        now = self._pass
        assert now is not None, "attend outside of joining() or growing()"
        assert rule.mask is None, "the cache masks padding itself"
        self._reserve(layer, k, now.first_row + len(now.new_lengths), max(now.new_lengths))
        keys, values = self._keys[layer], self._values[layer]
        if now.joining:
            rows = slice(now.first_row, now.first_row + k.shape[0])
            keys[rows, :, : k.shape[2]] = k
            values[rows, :, : v.shape[2]] = v
            # Padding stands to the right of every real query, where causal attention never looks;
            # what is stored there lies beyond the row's length and is overwritten later.
            bias = self._bias(now, rule, now.positions[:1])
            return attention.attend(q, k, v, replace(rule, bias=bias))
        row = torch.arange(k.shape[0], device=k.device)
        position = now.positions[:, 0]
        keys[row, :, position] = k[:, :, 0]
        values[row, :, position] = v[:, :, 0]
        seen = max(now.new_lengths)
        mask = self._mask(now, rule.window, seen, q.dtype)
        keys_at = torch.arange(seen, device=k.device)[None]
        bias = self._bias(now, rule, keys_at)
        rule = replace(rule, mask=mask, causal=False, window=None, bias=bias)
        return _attend_one_query(q, keys[: len(row), :, :seen], values[: len(row), :, :seen], rule)

    def memory(
        self, layer: int, project: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of an encoder's output: rows come and go here, encoders' do not."""
        raise NotImplementedError("rows of an encoder-decoder are not batched continuously")

    def remove(self, rows: Collection[int]) -> list[int]:
        """Drop rows and close the gaps with the last ones.

        Args:
            rows: indices to drop.

        Returns:
            For each remaining place, the row that stood at which place before.
        """
        gone = set(rows)
        order = list(range(len(self)))
        holes = sorted(row for row in gone if row < len(self) - len(gone))
        movers = [row for row in range(len(self) - len(gone), len(self)) if row not in gone]
        if holes:
            longest = max(self.lengths[row] for row in movers)
            for stored in (*self._keys.values(), *self._values.values()):
                stored[holes, :, :longest] = stored[movers, :, :longest]
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        del order[len(self) - len(gone) :]
        self.lengths = [self.lengths[row] for row in order]
        return order

    def wipe(self, rows: Items[int]) -> None:
        """Zero what rows hold: NaN left in a slot would reach its next owner as 0 * NaN."""
        if rows:
            for stored in (*self._keys.values(), *self._values.values()):
                stored[list(rows)] = 0

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests, after every operation."""
        assert self._pass is None, "a pass is still under way"
        assert self._keys.keys() == self._values.keys(), "a layer has keys but no values"
        assert all(length >= 1 for length in self.lengths), "an empty row"
        assert self._keys or not self.lengths, "rows without storage"
        for stored in (*self._keys.values(), *self._values.values()):
            slots, _, positions, _ = stored.shape
            assert len(self) <= slots, "more rows than slots"
            assert max(self.lengths, default=0) <= positions, "a row longer than its slot"

    @contextlib.contextmanager
    def _under_way(self, now: _Pass) -> Iterator[None]:
        assert self._pass is None, "one pass at a time"
        self._pass = now
        try:
            yield
            self.lengths[now.first_row :] = now.new_lengths
        finally:
            self._pass = None

    def _reserve(self, layer: int, like: Tensor, rows: int, positions: int) -> None:
        """Make room for `rows` and `positions` in this layer, keeping what the rows hold."""
        old = self._keys.get(layer)
        slots, room = (0, 0) if old is None else (old.shape[0], old.shape[2])
        if rows <= slots and positions <= room:
            return
        slots = slots if rows <= slots else max(FEWEST_SLOTS, rows, 2 * slots)
        room = room if positions <= room else max(FEWEST_POSITIONS, positions, 2 * room)
        for stored in (self._keys, self._values):
            # Zeros, not garbage: 0 * weight stays 0 where the mask hides a place, NaN would not.
            grown = like.new_zeros(slots, like.shape[1], room, like.shape[3])
            if old is not None:
                before = stored[layer]
                grown[: before.shape[0], :, : before.shape[2]] = before
            stored[layer] = grown

    def _bias(self, now: _Pass, rule: AttentionRule, keys_at: Tensor) -> Tensor | None:
        """The rule's bias for the queries of the pass, computed once and shared by the layers."""
        if rule.bias is None or isinstance(rule.bias, Tensor):
            return rule.bias
        if now.bias is None:
            at = keys_at if now.joining else now.positions
            now.bias = rule.bias(at, keys_at)
        return now.bias

    def _mask(self, now: _Pass, window: int | None, seen: int, dtype: torch.dtype) -> Tensor:
        mask = now.rules.get(window)
        if mask is None:
            key = torch.arange(seen, device=now.positions.device)
            visible = key <= now.positions  # (B, S): the query is the row's last position
            if window is not None:
                visible &= key > now.positions - window
            mask = torch.zeros(visible.shape, dtype=dtype, device=key.device)
            mask = mask.masked_fill_(~visible, float("-inf"))[:, None, None, :]
            now.rules[window] = mask
        return mask


def _attend_one_query(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    """`attention.attend` for T = 1, query heads of a group standing as queries of their key head.

    (B, H, 1, K) -> (B, Hkv, H / Hkv, K): nothing is repeated, and the kernel sees a matrix
    instead of H / Hkv vectors.
    """
    if rule.bias is not None or q.shape[1] == k.shape[1]:
        return attention.attend(q, k, v, rule)
    grouped = q.view(q.shape[0], k.shape[1], -1, q.shape[3])
    return attention.attend(grouped, k, v, rule).reshape(q.shape)
