"""The numbers of a pass on the device: sent by one copy, seen as the parts that they are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmwright.engine.cuda.plan import Numbers, Sizes


@dataclass(frozen=True)
class Inputs:
    """A pass as the model and the kernels read it.

    Args:
        sizes: how many of everything there are.
        values: (at least `sizes.before_tables` + tables,) int32 on the device.
    """

    sizes: Sizes
    values: Tensor

    @property
    def token_ids(self) -> Tensor:
        """(N,) int32."""
        return self._part(0, self.sizes.tokens)

    @property
    def positions(self) -> Tensor:
        """(N,) int32, place of each token in its sequence."""
        return self._part(self.sizes.tokens, self.sizes.tokens)

    @property
    def slots(self) -> Tensor:
        """(N,) int32, place of each token in the cache: block * block_size + place in the block."""
        return self._part(2 * self.sizes.tokens, self.sizes.tokens)

    @property
    def logit_rows(self) -> Tensor:
        """(L,) int32, tokens whose logits are wanted."""
        return self._part(3 * self.sizes.tokens, self.sizes.logits)

    @property
    def few(self) -> Tensor:
        """(P * 3,) int32 pieces of sequences with few queries: sequence, first token, end."""
        return self._part(3 * self.sizes.tokens + self.sizes.logits, 3 * self.sizes.few)

    @property
    def many(self) -> Tensor:
        """(P * 3,) int32 pieces of chunks."""
        return self._part(self.sizes.before_tables - 3 * self.sizes.many, 3 * self.sizes.many)

    @property
    def tables(self) -> Tensor:
        """(W * B,) int32 blocks of the sequences, the first of all, then the second of all, ..."""
        return self.values[self.sizes.before_tables :]

    def _part(self, first: int, length: int) -> Tensor:
        return self.values[first : first + length]


class Sender:
    """Brings numbers to the device without waiting for it.

    Args:
        device: where to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._host = torch.empty(0, dtype=torch.int32)
        self._sent: torch.cuda.Event | None = None

    def send(self, numbers: Numbers, place: Tensor | None = None) -> Inputs:
        """Copy a pass.

        Args:
            numbers: what to copy.
            place: (at least as many,) int32 on the device, written from its beginning; None: new.
        """
        count = len(numbers.values)
        if self._sent is not None:
            self._sent.synchronize()  # the copy before may still read what is written now
        if len(self._host) < count:
            pinned = self.device.type == "cuda"
            self._host = torch.empty(2 * count, dtype=torch.int32, pin_memory=pinned)
        source = self._host[:count]
        source.numpy()[:] = numbers.values
        if place is None:
            place = torch.empty(count, dtype=torch.int32, device=self.device)
        place[:count].copy_(source, non_blocking=True)
        if self.device.type == "cuda":
            if self._sent is None:
                self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent.record()
        return Inputs(numbers.sizes, place)
