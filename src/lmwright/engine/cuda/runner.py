"""The GPU runner: the model's own modules, our attention, and recorded passes."""

import contextlib

import torch
from torch import Tensor

from lmwright.engine.batch import Batch
from lmwright.engine.cuda import coverage
from lmwright.engine.cuda.cache import DeviceCache, dtype_for
from lmwright.engine.cuda.graphs import Capture, Graphs, OnCuda, directly
from lmwright.engine.cuda.inputs import Inputs, Sender
from lmwright.engine.cuda.plan import Tiling, numbers_of
from lmwright.engine.native import KeyValues
from lmwright.engine.runner import BLOCK_SIZE, generating
from lmwright.models.transformer import Decoder


class CudaRunner:
    """Implements `batch.Runner` with a model's own modules and kernels for what is paged.

    On the CPU it does the same by Triton's interpreter, with nothing recorded: for tests.

    Args:
        model: a decoder that `coverage.covers_model` covers; must not change any more.
        num_blocks: of the cache.
        block_size: positions of a block.
        stored: how keys and values are kept; None: as the model computes them.
        max_sequences: that may run at once: so many are recorded. 0: nothing is.
        processors: of the GPU; None: as many as it has.
    """

    own_threads = False

    def __init__(
        self,
        model: Decoder,
        num_blocks: int,
        block_size: int = BLOCK_SIZE,
        *,
        stored: KeyValues | None = None,
        max_sequences: int = 32,
        processors: int | None = None,
    ) -> None:
        self.model = model
        self.num_blocks = num_blocks
        self.block_size = block_size
        config, weight = model.config, model.output_weight
        self._stored = stored
        self._tiling = Tiling(
            config.num_attention_heads // config.num_key_value_heads,
            config.head_dim * weight.element_size(),
        )
        self._cache = DeviceCache(
            config,
            num_blocks,
            block_size,
            dtype=dtype_for(stored, weight.dtype),
            device=weight.device,
            processors=processors,
        )
        self._sender = Sender(weight.device)
        self._not_recorded = "asked for" if not max_sequences else coverage.no_graphs(config)
        self._graphs: Graphs | None = None
        if self._not_recorded is None:
            self._graphs = Graphs(
                self._compute,
                _capture_on(weight.device),
                self._sender,
                most=max_sequences,
                tiling=self._tiling,
                block_size=block_size,
                spare_block=self._cache.spare_block,
                longest_table=-(-config.max_position_embeddings // block_size),
            )

    def forward(self, batch: Batch) -> Tensor:
        """See `Runner.forward`."""
        assert batch.adapters is None, "the portable runner has adapters"
        device = self._sender.device
        # Triton launches on the current device, whichever its tensors are on.
        here = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
        with generating(self.model), here:
            size = None if self._graphs is None else self._graphs.size_for(batch)
            if self._graphs is not None and size is not None:
                return self._graphs.run(batch, size)
            numbers = numbers_of(batch, self._tiling, self.block_size)
            return self._compute(self._sender.send(numbers))

    def _compute(self, inputs: Inputs) -> Tensor:
        """(L, V) float32 logits; nothing here waits for the device."""
        with self._cache.reading(inputs):
            hidden = self.model.hidden_states(
                inputs.token_ids[None].long(),
                position_ids=inputs.positions[None].long(),
                cache=self._cache,
            )[0]
            return self.model.project(hidden.index_select(0, inputs.logit_rows)).float()

    def describe(self) -> str:
        """See `Runner.describe`."""
        weight = self.model.output_weight
        dtype = str(weight.dtype).removeprefix("torch.")
        device = torch.cuda.get_device_name(weight.device) if weight.is_cuda else "the CPU"
        cache = f", {self._stored} cache" if self._stored else ""
        if self._graphs is None:
            graphs = f"no graphs ({self._not_recorded})"
        else:
            graphs = f"graphs for up to {self._graphs.sizes[-1]} sequences"
        return f"cuda {dtype} on {device}, paged attention by triton{cache}, {graphs}"


def _capture_on(device: torch.device) -> Capture:
    return OnCuda() if device.type == "cuda" else directly
