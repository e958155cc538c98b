"""Runs a pass of a decoder in one native call (the `Runner` of engine/batch.py)."""

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from lmwright.core.device import physical_cores
from lmwright.engine.batch import Batch
from lmwright.engine.native import KeyValues, Weights
from lmwright.engine.native.library import Format, KvStorage, Library, Pass
from lmwright.engine.native.model import NativeModel
from lmwright.engine.native.pack import Packed, pages
from lmwright.models.config import TransformerConfig
from lmwright.models.inputs import check_ids, check_positions
from lmwright.models.layers.positions import rotary_table
from lmwright.models.layers.rope_scaling import scaled_frequencies
from lmwright.models.transformer import Decoder

_KV_TYPES: dict[KeyValues, int] = {"fp32": 0, "bf16": 1, "int8": 2}
_NAMES = {
    Format.F32: "fp32",
    Format.BF16: "bf16",
    Format.INT8_GROUPS: "int8",
    Format.INT8_ROWS: "int8 by row",
    Format.INT4_GROUPS: "int4",
}
_FEWEST_ANGLES = 512  # positions of the first table; it doubles


class NativeRunner:
    """A decoder over paged keys and values, on the CPU's own kernels.

    Args:
        model: what `open_runner` found covered. Must live on unchanged: its embedding is read.
        library: the kernels for an instruction set.
        num_blocks: of the pool; memory is taken when a block is first written.
        block_size: positions of a block, 16 or 32.
        weights: how they are to lie in memory.
        kv: of keys and values; None: fp32 beside fp32 weights, else bf16.
        threads: None: one for each core that this process may use.
        packed: the model's layers as they were packed before; none: they are packed now.

    Raises:
        NotCovered: if a layer is of a kind that the kernels do not know.
    """

    own_threads = True

    def __init__(
        self,
        model: Decoder,
        library: Library,
        *,
        num_blocks: int,
        block_size: int,
        weights: Weights = "as_stored",
        kv: KeyValues | None = None,
        threads: int | None = None,
        packed: Mapping[str, Packed] | None = None,
    ) -> None:
        assert block_size in (16, 32), "the kernels know blocks of 16 and 32"
        self.num_blocks, self.block_size = num_blocks, block_size
        self.threads = threads or physical_cores()
        self.config = model.config
        self._library, self._model = library, NativeModel(model, weights, packed or {})
        floats = self._model.formats == {Format.F32}
        self.kv: KeyValues = kv or ("fp32" if floats else "bf16")
        self._storage: list[Tensor] = []
        for layer in self._model.layers:
            layer.kv = self._pool()
        self._angles = _Angles(model.config)
        functions = library.functions
        self._step = functions.lmw_open(ctypes.byref(self._model.structure), self.threads)
        if not self._step:
            raise MemoryError("no memory for the native runner")

    def __del__(self) -> None:
        if getattr(self, "_step", None):
            self._library.functions.lmw_close(self._step)
            self._step = None

    def forward(self, batch: Batch) -> Tensor:
        """(L, V) float32 logits; see `Runner.forward`. One call at a time."""
        assert not any(batch.adapters or ()), "the kernels have no adapters"
        tokens, wanted = batch.token_ids.shape[0], batch.logit_rows.shape[0]
        if self.config.positions in ("learned", "sinusoidal"):
            check_positions(batch.positions + self.config.position_offset, self.config)
        logits = torch.empty(wanted, self.config.vocab_size)
        if not tokens:
            return logits
        call = Pass(
            token_ids=_address(batch.token_ids, torch.int64),
            positions=_address(batch.positions, torch.int64),
            query_starts=_address(batch.query_starts, torch.int32),
            context_lengths=_address(batch.context_lengths, torch.int32),
            block_tables=_address(batch.block_tables, torch.int32),
            logit_rows=_address(batch.logit_rows, torch.int64),
            logits=logits.data_ptr(),
            tokens=tokens,
            sequences=batch.context_lengths.shape[0],
            table_width=batch.block_tables.shape[1],
            num_logits=wanted,
        )
        # By NumPy: after a pass nothing is left in the caches, and each of PyTorch's operations
        # would take some fifty microseconds to find its way.
        self._angles.point(call, int(batch.context_lengths.numpy().max()))
        found = self._library.functions.lmw_pass(self._step, ctypes.byref(call))
        if found == 2:
            check_ids(batch.token_ids, self.config)
        if found:
            raise MemoryError(f"no memory for a pass of {call.tokens} tokens")
        return logits

    def describe(self) -> str:
        """One line for the log."""
        formats = " and ".join(self._told(kind) for kind in sorted(self._model.formats))
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"native {self._library.instruction_set}, weights {formats}, "
            f"keys and values {self.kv}, {threads}"
        )

    def _told(self, kind: Format) -> str:
        """A format of the blocks' layers, with the groups that share a scale."""
        if kind not in (Format.INT8_GROUPS, Format.INT4_GROUPS):
            return _NAMES[kind]
        blocks = (p for name, p in self._model.packed.items() if name != "lm_head")
        groups = sorted({packed.group for packed in blocks if packed.format == kind})
        return f"{_NAMES[kind]} in groups of {' and '.join(map(str, groups))}"

    @property
    def packed(self) -> Mapping[str, Packed]:
        """The linear layers, by name."""
        return self._model.packed

    @property
    def weight_bytes(self) -> int:
        """What linear layers read in a pass, for shares of the memory's bandwidth."""
        return self._model.bytes

    def _pool(self) -> KvStorage:
        """One layer's storage."""
        heads, size, kind = (
            self.config.num_key_value_heads,
            self.config.head_dim,
            _KV_TYPES[self.kv],
        )
        shape = (self.num_blocks, self.block_size, heads, size, kind)
        room = self._library.functions.lmw_kv_bytes(*shape)
        parts = [pages(room), pages(room)]
        if self.kv == "int8":
            scales = 4 * self.num_blocks * self.block_size * heads
            parts += [pages(scales), pages(scales)]
        self._storage += parts
        addresses = [part.data_ptr() for part in parts]
        return KvStorage(*addresses, *[None] * (4 - len(addresses)), *shape)


class _Angles:
    """Cosines and sines of all positions so far, by the functions that the model itself uses."""

    def __init__(self, config: TransformerConfig) -> None:
        self.config = config
        self.tables: list[tuple[Tensor, Tensor]] = []

    def point(self, call: Pass, positions: int) -> None:
        """Let `call` read tables of at least so many positions."""
        if self.config.positions != "rotary":
            return
        if not self.tables or len(self.tables[0][0]) < positions:
            self._grow(max(_FEWEST_ANGLES, 2 * positions))
        for index, (cosines, sines) in enumerate(self.tables):
            call.cosines[index], call.sines[index] = cosines.data_ptr(), sines.data_ptr()

    def _grow(self, positions: int) -> None:
        places = torch.arange(positions)[None]
        self.tables = []
        for local in (False, True):
            frequencies, factor = scaled_frequencies(self.config, places, local=local)
            cosines, sines = rotary_table(places, frequencies, factor)
            self.tables.append((cosines[0, 0].contiguous(), sines[0, 0].contiguous()))


def _address(tensor: Tensor, dtype: torch.dtype) -> int:
    assert tensor.dtype == dtype, f"a batch has {dtype} here, not {tensor.dtype}"
    assert tensor.is_contiguous(), "a batch is contiguous"
    return tensor.data_ptr()
