"""The portable runner: any decoder, on any device, by the model's own modules."""

import contextlib
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lmwright.engine.batch import Batch
from lmwright.engine.native import KeyValues
from lmwright.engine.paged_cache import PagedCache
from lmwright.models.transformer import Decoder
from lmwright.tuning.lora import MultiLora

# Small blocks share more of a prefix and waste less at a sequence's end. Positions are gathered one
# by one, so larger ones would save nothing here.
BLOCK_SIZE = 16


@contextlib.contextmanager
def generating(model: nn.Module) -> Iterator[None]:
    """No gradients, evaluation mode, no compilation; everything as it was afterwards.

    A model that is being trained keeps its modes and its compiled blocks. `no_grad`, not
    `inference_mode`: a tensor that a module keeps from here could not take part in training.
    """
    # Walking all modules takes as long as a layer: only where the model as a whole is training.
    training = [module for module in model.modules() if module.training] if model.training else []
    for module in training:
        module.training = False
    try:
        with torch.no_grad(), _eager():
            yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Run compiled blocks as they were written: every batch size here would compile them anew."""
    if "torch._dynamo" not in sys.modules:  # nothing compiled: save its seconds of import
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


class PortableRunner:
    """Implements `batch.Runner` with a model's own modules and a paged cache.

    Args:
        model: a decoder; its weights are used as they are at each call.
        num_blocks: of the cache.
        block_size: positions of a block.
        stored: how keys and values are kept; None: as the model computes them.
        lora: the adapters that batches may name; they are on the model.
        why: why nothing faster runs the model, for the log.
    """

    own_threads = False

    def __init__(
        self,
        model: Decoder,
        num_blocks: int,
        block_size: int = BLOCK_SIZE,
        *,
        stored: KeyValues | None = None,
        lora: MultiLora | None = None,
        why: str = "",
    ) -> None:
        self.model = model
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._cache = PagedCache(num_blocks, block_size, stored=stored)
        self._lora = lora
        self._why = why

    def forward(self, batch: Batch) -> Tensor:
        """See `Runner.forward`."""
        device = self.model.output_weight.device
        with (
            generating(self.model),
            self._adapted(batch),
            self._cache.reading(batch, device),
        ):
            hidden = self.model.hidden_states(
                batch.token_ids[None].to(device),
                position_ids=batch.positions[None].to(device),
                cache=self._cache,
            )[0]
            # Only these positions' logits are wanted: V is many times D.
            if len(batch.logit_rows) < len(hidden):
                hidden = hidden[batch.logit_rows.to(device)]
            return self.model.project(hidden).float()

    def _adapted(self, batch: Batch) -> contextlib.AbstractContextManager[None]:
        """Each token with its sequence's adapter."""
        if batch.adapters is None:
            return contextlib.nullcontext()
        assert self._lora is not None, "adapters that nobody has read"
        counts = batch.query_starts.diff().tolist()
        owned = zip(batch.adapters, counts, strict=True)
        return self._lora.selected([name for name, count in owned for _ in range(count)])

    def describe(self) -> str:
        """See `Runner.describe`."""
        weight = self.model.output_weight
        dtype = str(weight.dtype).removeprefix("torch.")
        cache = f", {self._cache.stored} cache" if self._cache.stored else ""
        names = f", adapters {', '.join(self._lora.names)}" if self._lora else ""
        because = f" ({self._why})" if self._why else ""
        return f"portable eager {dtype} on {weight.device.type}{cache}{names}{because}"
