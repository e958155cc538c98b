"""Keys and values in blocks, on any device, by plain tensor operations.

Paged attention: Kwon et al. 2023, section 4. What a pass attends to is gathered, then goes
through `attention.attend`, so that every family's rule holds here as it does in training.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lmwright.engine.batch import Batch
from lmwright.engine.native import KeyValues
from lmwright.engine.paged_pass import Layer, Paged
from lmwright.engine.strips import Strips
from lmwright.models.layers.attention import AttentionRule

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


class PagedCache:
    """Implements `attention.Cache` for batches that lie end to end.

    Args:
        num_blocks: of the pool; memory is touched only where tokens are written.
        block_size: positions of a block.
        stored: how keys and values lie in memory; int8 has one scale for each token and head.
            None: as the model computes them.
    """

    def __init__(
        self, num_blocks: int, block_size: int, *, stored: KeyValues | None = None
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.stored = stored
        # Made when a layer's first keys tell the shape.
        self._layers: dict[int, LayerStore] = {}
        self._strips = Strips(num_blocks * block_size)
        self._pass: Paged | None = None

    @contextlib.contextmanager
    def reading(self, batch: Batch, device: torch.device) -> Iterator[None]:
        """A forward pass over `batch`, on `device`."""
        assert self._pass is None, "one pass at a time"
        # Behind the last block stands one place of zeros, see `LayerStore`.
        zeros = self.num_blocks * self.block_size
        self._pass = Paged(batch, self.block_size, zeros, self._strips, device)
        try:
            yield
        except BaseException:
            self._strips.clear()  # some layers have the new tokens, others not
            raise
        finally:
            self._pass = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """Store the new keys and values of `layer`, then attend, each sequence over its own.

        Args:
            layer: index of the layer.
            q: (1, H, N, K); k, v: (1, Hkv, N, K), in the order of the batch.
            rule: the layer's rule; its mask must be free.

        Returns:
            (1, H, N, K).
        """
        now = self._pass
        assert now is not None, "attend outside of reading()"
        assert rule.mask is None, "nothing is padded here"
        store = self._layers.get(layer)
        if store is None:
            positions = self.num_blocks * self.block_size
            store = self._layers[layer] = LayerStore(positions, k, self.stored)
        store.write(now.new, torch.stack((k[0].transpose(0, 1), v[0].transpose(0, 1)), dim=1))
        out = torch.empty(q.shape[2], q.shape[1], v.shape[3], dtype=q.dtype, device=q.device)
        for group in now.groups:
            group.attend(Layer(layer, store), q, k, v, rule, out)
        return out.transpose(0, 1)[None]

    def memory(
        self, layer: int, project: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of an encoder's output: sequences come and go here, encoders' do not."""
        raise NotImplementedError("rows of an encoder-decoder are not batched continuously")


class LayerStore:
    """What one layer keeps: a row for each position of each block, and a last one of zeros.

    Keys and values stand side by side, so that one copy takes both. The row of zeros stands for
    what lies beyond a sequence's end: whatever another one left in its last block, NaN included,
    is never read.

    Args:
        positions: of all blocks.
        like: (1, Hkv, N, K) keys of the layer.
        stored: how to keep them; None: as they are.
    """

    def __init__(self, positions: int, like: Tensor, stored: KeyValues | None) -> None:
        shape = (positions + 1, 2, like.shape[1], like.shape[3])
        dtype = like.dtype if stored is None else _DTYPES[stored]
        self.exact = dtype == like.dtype
        self._values = _lazy_zeros(shape, dtype, like.device)
        self._scales: Tensor | None = None
        if dtype == torch.int8:
            self._scales = _lazy_zeros((*shape[:3], 1), torch.float32, like.device)

    def write(self, slots: Tensor, new: Tensor) -> None:
        """Keep keys and values (N, 2, Hkv, K) at these places (N,)."""
        if self._scales is not None:
            # 127 steps on either side; a row of zeros keeps a scale that it can be divided by.
            scale = new.float().abs().amax(dim=-1, keepdim=True).div_(127).clamp_(min=1e-30)
            self._scales[slots] = scale
            new = (new / scale).round_()
        self._values[slots] = new.to(self._values.dtype)

    def read(self, slots: Tensor | slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values, each (n, Hkv, K), of n places."""
        found = _rows(self._values, slots)
        if self._scales is not None:
            found = found * _rows(self._scales, slots)
        found = found.to(dtype)
        return found[:, 0], found[:, 1]


def _rows(stored: Tensor, slots: Tensor | slice) -> Tensor:
    return stored[slots] if isinstance(slots, slice) else stored.index_select(0, slots)


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on the CPU of memory that costs nothing until it is written."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # `torch.zeros` writes each page, NumPy leaves them to the system (calloc).
    raw = np.zeros(int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)
