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
        values: (at least `sizes.starts[-1]` and the tables',) int32 on the device.
    """

    sizes: Sizes
    values: Tensor

    @property
    def token_ids(self) -> Tensor:
        """(N,) int32."""
        return self._part(0)

    @property
    def positions(self) -> Tensor:
        """(N,) int32, place of each token in its sequence."""
        return self._part(1)

    @property
    def slots(self) -> Tensor:
        """(N,) int32, place of each token in the cache: block * block_size + place in the block."""
        return self._part(2)

    @property
    def logit_rows(self) -> Tensor:
        """(L,) int32, tokens whose logits are wanted."""
        return self._part(3)

    @property
    def few(self) -> Tensor:
        """(P * 3,) int32 pieces of sequences with few queries: sequence, first token, end."""
        return self._part(4)

    @property
    def many(self) -> Tensor:
        """(P * 3,) int32 pieces of chunks."""
        return self._part(5)

    @property
    def tables(self) -> Tensor:
        """(W * B,) int32 blocks of the sequences, the first of all, then the second of all, ..."""
        return self.values[self.sizes.starts[-1] :]

    def _part(self, number: int) -> Tensor:
        first = self.sizes.starts[number]
        return self.values[first : first + self.sizes.lengths[number]]


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
