"""Weights that are published as one where ours are several, or the other way round."""

from collections.abc import Sequence

from torch import Tensor

from lmwright.models.config import TransformerConfig
from lmwright.models.families.naming import Weight


def _split_heads(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    """Rows of each head's query, key and value in turn -> all queries, all keys, all values."""
    rest = weights[0].shape[1:]
    by_head = weights[0].reshape(config.num_attention_heads, 3, config.head_dim, *rest)
    return [part.flatten(0, 1) for part in by_head.unbind(1)]


def _join_heads(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    import torch

    heads, width = config.num_attention_heads, config.head_dim
    parts = [w.reshape(heads, width, *w.shape[1:]) for w in weights]
    return [torch.stack(parts, dim=1).flatten(0, 2)]


def interleaved(published: str) -> Weight:
    """Queries, keys and values in one matrix, head by head (Megatron-LM)."""
    ours = tuple(f"layers.{{i}}.self_attn.{name}_proj.{{p}}" for name in "qkv")
    return Weight(ours, published, _split_heads, _join_heads)


def _stack(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    import torch

    return [torch.stack(list(weights))]


def _unstack(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    return list(weights[0].unbind(0))


def _halve(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    return list(weights[0].chunk(2, dim=1))


def experts(block: str, gate: str, up: str, down: str) -> tuple[Weight, ...]:
    """Each expert's matrices on its own, as published; in newer files all in one tensor.

    Args:
        block: what the published mixture is called, such as `block_sparse_moe`.
        gate, up, down: what the matrices of an expert are called.
    """
    ours = {"gate_proj": gate, "up_proj": up, "down_proj": down}
    return (
        Weight("layers.{i}.mlp.router.{p}", f"layers.{{i}}.{block}.gate.{{p}}"),
        *(
            Weight(
                f"layers.{{i}}.mlp.{name}",
                f"layers.{{i}}.{block}.experts.{{e}}.{published}.weight",
                _stack,
                _unstack,
            )
            for name, published in ours.items()
        ),
        # Writing takes the first that fits; these are read only.
        Weight("layers.{i}.mlp.router.{p}", "layers.{i}.mlp.gate.{p}"),
        Weight(
            ("layers.{i}.mlp.gate_proj", "layers.{i}.mlp.up_proj"),
            "layers.{i}.mlp.experts.gate_up_proj",
            _halve,
        ),
        Weight("layers.{i}.mlp.down_proj", "layers.{i}.mlp.experts.down_proj"),
    )
