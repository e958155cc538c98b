"""Random numbers that survive a kill: states as text, and draws that belong to a row."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError


def to_text(state: Tensor) -> str:
    """A generator's state, as `get_state` gives it, in base 64."""
    return base64.b64encode(state.numpy().tobytes()).decode()


def from_text(text: str) -> Tensor:
    """The state that `to_text` wrote: what `set_state` takes."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


class RowDraws:
    """Uniform numbers for the rows of one batch after the other.

    A row's numbers are a function of the seed and of how many rows came before it: they do not
    depend on where a batch is cut into micro-batches, nor on how far it is padded.

    Args:
        seed: of all rows.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rows = 0

    def draw(self, rows: int, length: int, numbers: int) -> Tensor:
        """(rows, length, numbers) float64 in [0, 1), for the next rows."""
        drawn = [
            np.random.default_rng((self.seed, row)).random((length, numbers))
            for row in range(self.rows, self.rows + rows)
        ]
        self.rows += rows
        return torch.from_numpy(np.stack(drawn))

    def state_dict(self) -> dict[str, Any]:
        """Where the draws stand."""
        return {"seed": self.seed, "rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where other draws of the same seed stood.

        Raises:
            LmwrightError: if the seed was another.
        """
        if state["seed"] != self.seed:
            raise LmwrightError(
                f"the checkpoint's masks have seed {state['seed']}, this run's {self.seed}",
                hint="the seed changed: start the step anew",
            )
        self.rows = int(state["rows"])
