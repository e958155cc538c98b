"""The plainest cache: rows that all grow together, keys and values joined end to end.

For encoder-decoders, beams and tests; `paged_cache.PagedCache` serves running sequences of any
length.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lmwright.models.layers import attention
from lmwright.models.layers.attention import AttentionRule


class GrowingCache:
    """Every pass appends the same number of tokens to every row; padding is told by the mask."""

    def __init__(self) -> None:
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._positions: dict[int, Tensor] = {}
        self._memory: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Positions so far, S."""
        return next((keys.shape[2] for keys in self._keys.values()), 0)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """Append k, v (B, Hkv, T, K) and attend over all S; see `attention.Cache`."""
        if layer in self._keys:
            k = torch.cat((self._keys[layer], k), dim=2)
            v = torch.cat((self._values[layer], v), dim=2)
        self._keys[layer], self._values[layer] = k, v
        if rule.bias is not None and not isinstance(rule.bias, Tensor):
            at = rule.positions
            assert at is not None
            earlier = self._positions.get(layer)
            keys_at = at if earlier is None else torch.cat((earlier, at), dim=1)
            self._positions[layer] = keys_at
            rule = replace(rule, bias=rule.bias(at, keys_at), positions=None)
        return attention.attend(q, k, v, rule)

    def memory(
        self, layer: int, project: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of an encoder's output, projected at the first call."""
        if layer not in self._memory:
            self._memory[layer] = project()
        return self._memory[layer]

    def select(self, rows: Tensor) -> None:
        """Keep these rows (N,), in this order, each as often as it is named."""
        for stored in (self._keys, self._values, self._positions):
            for layer, tensor in stored.items():
                if len(tensor) > 1 or stored is not self._positions:
                    stored[layer] = tensor[rows]
        self._memory = {layer: (k[rows], v[rows]) for layer, (k, v) in self._memory.items()}
