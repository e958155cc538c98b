"""The engine's own CPU kernels: a whole pass of a decoder in one native call."""

import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lmwright.engine.batch import Runner
    from lmwright.models.transformer import Decoder

Weights = Literal["as_stored", "fp32", "bf16", "int8", "int4", "fp8"]
"""How weights lie in memory: as the model has them, or changed on load. fp8: on GPUs only."""
KeyValues = Literal["fp32", "bf16", "int8", "fp8"]
"""How keys and values lie in the cache. fp8: on GPUs only."""


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

    Args:
        model: a decoder on the CPU; must live on unchanged, since its embedding is read in place.
        num_blocks: of the pool of keys and values.
        block_size: positions of a block, 16 or 32.
        weights: `as_stored`: as the model has them; else converted or quantised on load.
        kv: how keys and values are kept; None: fp32 beside fp32 weights, else bf16.
        threads: None: one for each core that this process may use.

    Raises:
        NotCovered: with the reason: the family, the machine, or no object and no compiler.
        LmwrightError: if the environment's limit for packed weights is no size.
    """
    if sys.platform != "linux":
        raise NotCovered("native kernels are built on Linux only")
    from lmwright.engine.native import cache, choice, coverage, runner

    if (reason := coverage.covers_model(model)) is not None:
        raise NotCovered(reason)
    kernels = choice.best()
    entry = cache.entry(model, weights)
    packed = entry.read() if entry is not None else {}
    opened = runner.NativeRunner(
        model,
        kernels,
        num_blocks=num_blocks,
        block_size=block_size,
        weights=weights,
        kv=kv,
        threads=threads,
        packed=packed,
    )
    if entry is not None and not packed:
        entry.write(opened.packed)
    return opened
