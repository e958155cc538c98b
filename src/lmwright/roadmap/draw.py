"""Random cases for the labs' checks: one seed gives the same case again, smaller on request."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")


class Draw:
    """The source of one case's random choices.

    Args:
        seed: the same seed and scale give the same case.
        scale: 0 draws the smallest sizes that a generator allows, 1 the whole range; a failing case
            is looked for again from 0 upwards, so that what is shown is small.
    """

    def __init__(self, seed: int, scale: float = 1.0) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.scale = scale
        self._generator: torch.Generator | None = None

    def size(self, low: int, high: int) -> int:
        """An integer in low..high, both included, near `low` where the scale is small."""
        return self.random.randint(low, low + round((high - low) * self.scale))

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`, whatever the scale."""
        return self.random.choice(options)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def uniform(self, low: float, high: float) -> float:
        """A number in low..high."""
        return self.random.uniform(low, high)

    def normal(self, *shape: int, dtype: "torch.dtype | None" = None) -> "Tensor":
        """Standard normal numbers of this shape; float32 by default."""
        import torch

        drawn = torch.randn(shape, generator=self.generator)
        return drawn if dtype is None else drawn.to(dtype)

    def uniforms(self, *shape: int) -> "Tensor":
        """Float32 numbers in [0, 1)."""
        import torch

        return torch.rand(shape, generator=self.generator)

    def integers(self, low: int, high: int, *shape: int) -> "Tensor":
        """Int64 numbers in low..high, both included."""
        import torch

        return torch.randint(low, high + 1, shape, generator=self.generator)

    def booleans(self, probability: float, *shape: int) -> "Tensor":
        """Bools, each True with this probability."""
        return self.uniforms(*shape) < probability

    @property
    def generator(self) -> "torch.Generator":
        """Of torch's numbers, on a stream apart from the others'."""
        import torch

        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self.random.getrandbits(62))
        return self._generator
