"""The engine on an NVIDIA GPU: Triton kernels over a paged cache, and CUDA graphs.

Importing this package needs neither triton nor a GPU.
"""

from typing import TYPE_CHECKING

from lmwright.engine.native import KeyValues, NotCovered

if TYPE_CHECKING:
    from lmwright.engine.batch import Runner
    from lmwright.models.transformer import Decoder


def check_covered(model: "Decoder") -> None:
    """Make sure that the kernels run a model where it is.

    Raises:
        NotCovered: with the reason: the family, a part of the reader's own, the GPU, or no triton.
    """
    from lmwright.engine.cuda import coverage

    if (reason := coverage.covers_model(model)) is not None:
        raise NotCovered(reason)
    if (reason := coverage.covers_machine(model.output_weight.device)) is not None:
        raise NotCovered(reason)


def open_runner(
    model: "Decoder", *, num_blocks: int, kv: KeyValues | None = None, max_sequences: int
) -> "Runner":
    """A GPU runner for a model in a GPU's memory.

    Args:
        model: a decoder that is covered, whatever its linear layers became since; must live on
            unchanged.
        num_blocks: of the pool of keys and values.
        kv: how keys and values are kept; None: as the model computes them.
        max_sequences: that may run at once.
    """
    from lmwright.engine.cuda import runner

    return runner.CudaRunner(model, num_blocks, stored=kv, max_sequences=max_sequences)
