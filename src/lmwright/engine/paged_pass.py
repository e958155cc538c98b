"""Where the tokens of one pass go in the paged cache, and what each of them sees."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lmwright.engine.batch import Batch
from lmwright.engine.strips import Arrangement, Store, Strips
from lmwright.models.layers import attention
from lmwright.models.layers.attention import AttentionRule

# Sequences with at most so many queries (one, and drafts) attend together, padded to each other;
# a longer chunk of a prompt is worth a call of its own.
FEW_QUERIES = 8


@dataclass(frozen=True)
class Layer:
    """A layer, and what it keeps."""

    index: int
    store: Store


@dataclass
class Seen:
    """What the queries of a group look at, the same for all layers with one window."""

    slots: Tensor | slice | None
    """(B * S,) places in the cache; of what lies beyond a row's end, the place of zeros. None:
    not read from there."""
    positions: Tensor
    """(B, S) of the keys."""
    mask: Tensor | None
    """(B, 1, T, S) additive; None: everything is seen."""
    bias: Tensor | None = None
    """(B, H, T or 1, S) of ALiBi or T5, built once and shared by the layers."""

    def bias_of(self, rule: AttentionRule, queries: Tensor) -> Tensor | None:
        """The rule's bias for queries at these positions (B, T)."""
        if rule.bias is None or isinstance(rule.bias, Tensor):
            return rule.bias
        if self.bias is None:
            self.bias = rule.bias(queries, self.positions)
        return self.bias


class Paged:
    """Block tables of a pass, as places in a cache.

    Args:
        batch: the pass.
        block_size: positions of a block.
        zeros: the place that holds zeros.
        strips: what earlier passes left side by side.
        device: where the model computes.
    """

    def __init__(
        self, batch: Batch, block_size: int, zeros: int, strips: Strips, device: torch.device
    ) -> None:
        self.block_size, self.zeros, self.device = block_size, zeros, device
        self.tables = batch.block_tables.long()
        self.contexts = batch.context_lengths.long()
        self.starts: list[int] = batch.query_starts.tolist()
        counts = batch.query_starts.diff().long()
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
        self.positions = batch.positions
        self.new = self._slots(owner, batch.positions).to(device)
        """(N,) where the new keys and values go."""
        self.strips = strips
        self.groups = self._groups(counts.tolist())

    def _groups(self, counts: list[int]) -> list["Rows | Chunk"]:
        single = [b for b, count in enumerate(counts) if count == 1]
        few = [b for b, count in enumerate(counts) if 1 < count <= FEW_QUERIES]
        groups: list[Rows | Chunk] = []
        if single:
            groups.append(self._continued(single))
        else:
            self.strips.clear()
        if few:
            groups.append(Rows(self, few))
        return groups + [Chunk(self, b) for b, count in enumerate(counts) if count > FEW_QUERIES]

    def _continued(self, rows: list[int]) -> "Rows":
        """Rows with one token each, in the order of their strips if they have any."""
        at = torch.tensor(rows)
        arrangement = self.strips.arrange(
            self.tables[at].tolist(), self.contexts[at].tolist(), self.block_size
        )
        if arrangement is None:
            return Rows(self, rows)
        return Rows(self, [rows[row] for row in arrangement.order], arrangement)

    def _slots(self, rows: Tensor, positions: Tensor) -> Tensor:
        blocks = self.tables[rows, positions // self.block_size]
        return blocks * self.block_size + positions % self.block_size

    def seen_slots(self, rows: Tensor, positions: Tensor) -> Tensor | slice:
        """Flat places of these positions (B, S) of rows (B,)."""
        within = positions < self.contexts[rows][:, None]
        slots = self._slots(rows[:, None], positions.where(within, 0))
        slots = slots.where(within, self.zeros).flatten()
        # One sequence in blocks that follow each other is read where it is.
        first = int(slots[0])
        if len(rows) == 1 and bool((slots.diff() == 1).all()):
            return slice(first, first + len(slots))
        return slots.to(self.device)


class Rows:
    """Sequences with few queries each; they attend together.

    Args:
        paged: the pass.
        rows: which of its sequences.
        arrangement: of their strips; None: what they see is gathered.
    """

    def __init__(
        self, paged: Paged, rows: list[int], arrangement: Arrangement | None = None
    ) -> None:
        self._paged = paged
        self._rows = torch.tensor(rows)
        starts = torch.tensor([paged.starts[b] for b in rows])
        counts = torch.tensor([paged.starts[b + 1] - paged.starts[b] for b in rows])
        self.longest = int(counts.max())
        place = torch.arange(self.longest)
        # Rows with fewer queries repeat their last one.
        index = starts[:, None] + torch.minimum(place, counts[:, None] - 1)
        self._query_positions = paged.positions[index]  # (B, T)
        real = (place < counts[:, None]).flatten()
        self.whole = self.longest == 1 and rows == list(range(len(paged.starts) - 1))
        self._index = index.flatten().to(paged.device)
        self._real = None if bool(real.all()) else real.nonzero()[:, 0].to(paged.device)
        self._tokens = index.flatten()[real].to(paged.device)
        self._seen: dict[int | None, Seen] = {}
        self._strips = (
            None if arrangement is None else OwnStrips(paged, self._rows, self._tokens, arrangement)
        )

    def attend(
        self, layer: Layer, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, out: Tensor
    ) -> None:
        """Write what the group's queries gather into `out` (N, H, K); see `PagedCache.attend`."""
        seen = self._seen.get(rule.window)
        if seen is None:
            seen = self._seen[rule.window] = self._look(rule.window, q.dtype)
        size = len(self._rows)
        if seen.slots is None:
            assert self._strips is not None
            keys, values = self._strips.read(layer, k, v, seen.positions.shape[1])
        else:
            keys, values = (
                part.view(size, -1, *part.shape[1:]).transpose(1, 2)
                for part in layer.store.read(seen.slots, q.dtype)
            )
        flat = q[0].transpose(0, 1)  # (N, H, K)
        flat = flat if self.whole else flat[self._index]
        queries = flat.view(size, self.longest, *flat.shape[1:]).transpose(1, 2)  # (B, H, T, K)
        bias = seen.bias_of(rule, self._query_positions.to(q.device))
        rule = replace(rule, mask=seen.mask, causal=False, window=None, bias=bias, positions=None)
        mixed = _attend_one_query(queries, keys, values, rule).transpose(1, 2).flatten(0, 1)
        out[self._tokens] = mixed if self._real is None else mixed[self._real]

    def _look(self, window: int | None, dtype: torch.dtype) -> Seen:
        paged, at = self._paged, self._query_positions
        contexts = paged.contexts[self._rows]
        first = torch.zeros_like(contexts)
        if window is not None:
            first = (at[:, 0] - window + 1).clamp(min=0)
        keys = first[:, None] + torch.arange(int((contexts - first).max()))  # (B, S)
        visible = keys[:, None, :] <= at[:, :, None]
        if window is not None:
            visible &= keys[:, None, :] > at[:, :, None] - window
        mask = None
        if not bool(visible.all()):
            mask = torch.zeros(visible.shape, dtype=dtype)
            mask = mask.masked_fill_(~visible, -torch.inf)[:, None].to(paged.device)
        # A window is gathered: it is a part of the strip, and another one for each row.
        stripped = self._strips is not None and window is None
        slots = None if stripped else paged.seen_slots(self._rows, keys)
        return Seen(slots, keys.to(paged.device), mask)


class OwnStrips:
    """The strips of rows with one query each; see `Strips`.

    Args:
        paged: the pass.
        rows: (B,) which of its sequences.
        tokens: (B,) their places among its tokens.
        arrangement: which strip is whose.
    """

    def __init__(
        self, paged: Paged, rows: Tensor, tokens: Tensor, arrangement: Arrangement
    ) -> None:
        self._tokens = tokens
        self._strips, self._arrangement = paged.strips, arrangement
        last = paged.contexts[rows] - 1
        self._newest = paged.seen_slots(rows, last[:, None])
        self._places = torch.arange(len(rows), device=paged.device), last.to(paged.device)
        self._joining = torch.tensor(arrangement.joining, dtype=torch.long)
        if arrangement.joining:
            everywhere = torch.arange(arrangement.room).expand(len(self._joining), -1)
            self._filling = paged.seen_slots(rows[self._joining], everywhere)

    def read(self, layer: Layer, k: Tensor, v: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values (B, Hkv, length, K) of the layer, the newest of k and v included."""
        pair = self._strips.keys_and_values(layer.index, self._arrangement, k)
        if len(self._joining):
            joining = self._joining.to(k.device)
            for part, found in zip(pair, layer.store.read(self._filling, k.dtype), strict=True):
                part[joining] = found.view(len(joining), -1, *found.shape[1:]).transpose(1, 2)
        rows, places = self._places
        newest = k[0].transpose(0, 1)[self._tokens], v[0].transpose(0, 1)[self._tokens]
        if not layer.store.exact:
            newest = layer.store.read(self._newest, k.dtype)
        for part, new in zip(pair, newest, strict=True):
            part[rows, :, places] = new
        return pair[0][:, :, :length], pair[1][:, :, :length]


class Chunk:
    """One sequence that brings many tokens."""

    whole = False

    def __init__(self, paged: Paged, row: int) -> None:
        self._paged, self._row = paged, row
        self._tokens = slice(paged.starts[row], paged.starts[row + 1])
        self._length = paged.starts[row + 1] - paged.starts[row]
        self._context = int(paged.contexts[row])
        self._seen: dict[int | None, Seen] = {}

    def attend(
        self, layer: Layer, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, out: Tensor
    ) -> None:
        """Write what the chunk's queries gather into `out` (N, H, K); see `PagedCache.attend`."""
        seen = self._seen.get(rule.window)
        if seen is None:
            seen = self._seen[rule.window] = self._look(rule.window)
        store = layer.store
        if store.exact and self._length == self._context:
            keys, values = k[:, :, self._tokens], v[:, :, self._tokens]
        else:
            assert seen.slots is not None
            keys, values = (part.transpose(0, 1)[None] for part in store.read(seen.slots, q.dtype))
        at = self._paged.positions[None, self._tokens].to(q.device)
        rule = replace(rule, bias=seen.bias_of(rule, at), positions=None)
        mixed = attention.attend(q[:, :, self._tokens], keys, values, rule)
        out[self._tokens] = mixed[0].transpose(0, 1)

    def _look(self, window: int | None) -> Seen:
        first = 0
        if window is not None and self._length < self._context:
            first = max(0, self._context - self._length - window + 1)
        keys = torch.arange(first, self._context)[None]
        slots = self._paged.seen_slots(torch.tensor([self._row]), keys)
        return Seen(slots, keys.to(self._paged.device), None)


def _attend_one_query(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    """`attention.attend`, for T = 1 with query heads of a group as queries of their key head.

    (B, H, 1, K) -> (B, Hkv, H / Hkv, K): nothing is repeated, and the kernel sees a matrix
    instead of H / Hkv vectors.
    """
    if rule.bias is not None or q.shape[1] == k.shape[1] or q.shape[2] > 1:
        return attention.attend(q, k, v, rule)
    grouped = q.reshape(q.shape[0], k.shape[1], -1, q.shape[3])
    return attention.attend(grouped, k, v, rule).reshape(q.shape)
