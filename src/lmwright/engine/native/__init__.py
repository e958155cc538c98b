"""The engine's own CPU kernels: a whole pass of a decoder in one native call."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lmwright.engine.batch import Runner
    from lmwright.models.transformer import Decoder

Weights = Literal["as_stored", "fp32", "bf16", "int8", "int4"]
"""How weights lie in memory: as the model has them, or changed on load."""
KeyValues = Literal["fp32", "bf16", "int8"]
"""How keys and values lie in the cache."""


class NotCovered(Exception):
    """The family, the machine or the missing compiler, in one phrase: use the portable runner."""


def open_runner(
    model: "Decoder",
    *,
    num_blocks: int,
    block_size: int,
    weights: Weights = "as_stored",
    kv: KeyValues | None = None,
    threads: int | None = None,
) -> "Runner":
    """A native runner for a model in memory.

    Raises:
        NotCovered: with the reason.
    """
    raise NotCovered("native kernels are not built yet")
