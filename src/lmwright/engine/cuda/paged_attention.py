"""Calls of the Triton kernels: what a pass stores, and what its queries gather."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmwright.engine.cuda.inputs import Inputs
from lmwright.engine.cuda.plan import power_of_two, splits_for
from lmwright.models.layers.attention import AttentionRule

# A tile of keys, as it lies in shared memory. Tiles of keys and of values in two stages are then 64
# KB, and every GPU since compute capability 8.0 has at least 99 KB for one program.
_TILE_BYTES = 16 << 10
# Triton's products have at least this many rows, columns and terms; what is missing is zeros, so
# that one kernel serves a single query and a whole chunk.
_LEAST = 16
_LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
"""Of the coarse types, the largest number."""


@dataclass(frozen=True)
class Blocks:
    """What one layer keeps.

    Args:
        values: (blocks, 2, Hkv, block_size, K): keys, then values.
        scales: (blocks, 2, Hkv, block_size) float32, of int8 values; else None.
    """

    values: Tensor
    scales: Tensor | None

    @property
    def scales_or_any(self) -> Tensor:
        """A tensor in any case: a kernel takes no None."""
        return self.values if self.scales is None else self.scales


def store(keys: Tensor, values: Tensor, slots: Tensor, blocks: Blocks) -> None:
    """Write new keys and values into their blocks, on the grid of the blocks' type.

    Args:
        keys, values: (Hkv, N, K).
        slots: (N,) int32.
        blocks: of the layer.
    """
    from lmwright.engine.cuda import kernels

    keys, values = _dense(keys), _dense(values)
    heads, tokens, width = keys.shape
    kernels.store[(tokens, heads)](
        keys,
        values,
        *keys.stride()[:2],
        *values.stride()[:2],
        slots,
        blocks.values,
        blocks.scales_or_any,
        head_dim=width,
        tile_dims=power_of_two(width),
        block_size=blocks.values.shape[3],
        heads=heads,
        scaled=blocks.scales is not None,
        largest=_LARGEST.get(blocks.values.dtype, 0.0),
        num_warps=1,
    )


def attend(
    queries: Tensor,
    inputs: Inputs,
    blocks: Blocks,
    rule: AttentionRule,
    slopes: Tensor | None,
    processors: int,
) -> Tensor:
    """softmax(scale * q k^T + bias) v, each query over what its sequence has up to its position.

    Args:
        queries: (H, N, K).
        inputs: the pass; its keys and values are stored already.
        blocks: of the layer.
        rule: window, soft-cap and scale count.
        slopes: (H,) float32 of ALiBi; None: no bias.
        processors: of the GPU.

    Returns:
        (N, H, K) in the dtype of `queries`.
    """
    queries = _dense(queries)
    heads, tokens, width = queries.shape
    mixed = torch.empty(tokens, heads, width, dtype=queries.dtype, device=queries.device)
    call = _Call(queries, inputs, blocks, rule, slopes)
    if inputs.sizes.many:
        call.into(mixed, inputs.many, inputs.sizes.many_rows)
    if inputs.sizes.few:
        # Beside a chunk no processor is idle.
        alone = not inputs.sizes.many
        splits = splits_for(inputs.sizes.few, blocks.values.shape[2], processors) if alone else 1
        if splits == 1:
            call.into(mixed, inputs.few, inputs.sizes.few_rows)
        else:
            call.split_into(mixed, inputs.few, inputs.sizes.few_rows, splits)
    return mixed


@dataclass(frozen=True)
class _Call:
    """Arguments of `attend` that all its kernels share."""

    queries: Tensor
    inputs: Inputs
    blocks: Blocks
    rule: AttentionRule
    slopes: Tensor | None

    def split_into(self, mixed: Tensor, pieces: Tensor, tile_rows: int, splits: int) -> None:
        """As `into`, the keys of each query shared out among several programs."""
        from lmwright.engine.cuda import kernels

        tokens, heads, width = mixed.shape
        parts = mixed.new_empty(tokens, heads, splits, width, dtype=torch.float32)
        highest = mixed.new_empty(tokens, heads, splits, dtype=torch.float32)
        total = torch.empty_like(highest)
        self.into(parts, pieces, tile_rows, splits, highest, total)
        kernels.combine[(tokens * heads,)](
            parts,
            highest,
            total,
            mixed,
            head_dim=width,
            splits=splits,
            tile_dims=power_of_two(width),
        )

    def into(
        self,
        mixed: Tensor,
        pieces: Tensor,
        tile_rows: int,
        splits: int = 1,
        highest: Tensor | None = None,
        total: Tensor | None = None,
    ) -> None:
        """Write what the queries of these pieces gather."""
        from lmwright.engine.cuda import kernels

        queries, blocks, rule = self.queries, self.blocks, self.rule
        key_heads, block_size, width = blocks.values.shape[2:]
        tile_dims = max(_LEAST, power_of_two(width))
        kernels.attend[(len(pieces) // 3, key_heads, splits)](
            queries,
            *queries.stride()[:2],
            self.inputs.positions,
            pieces,
            self.inputs.tables,
            self.inputs.sizes.sequences,
            blocks.values,
            blocks.scales_or_any,
            queries if self.slopes is None else self.slopes,
            mixed,
            mixed if highest is None else highest,
            mixed if total is None else total,
            splits,
            width**-0.5 if rule.scale is None else rule.scale,
            group=queries.shape[0] // key_heads,
            head_dim=width,
            block_size=block_size,
            window=rule.window or 0,
            soft_cap=rule.soft_cap or 0.0,
            biased=self.slopes is not None,
            scaled=blocks.scales is not None,
            whole=highest is None,
            tile_rows=tile_rows,
            tile_keys=tile_keys(tile_dims, queries.element_size()),
            tile_dims=tile_dims,
            # Triton's interpreter takes the bits of bfloat16 for whole numbers in a product.
            widened=not queries.is_cuda,
            num_warps=4,
            num_stages=2,
        )


def tile_keys(tile_dims: int, bytes_each: int) -> int:
    """Keys that a program takes at a time."""
    return max(_LEAST, min(128, _TILE_BYTES // (tile_dims * bytes_each)))


def _dense(heads: Tensor) -> Tensor:
    """(H, N, K) whose last dimension has no gaps, as the kernels expect."""
    return heads if heads.stride(2) == 1 else heads.contiguous()
