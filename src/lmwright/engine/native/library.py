"""The shared object's functions and structures as ctypes sees them; see `src/weights.h`."""

import ctypes
from ctypes import POINTER, Structure, c_float, c_int, c_long, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

from lmwright.engine.native import NotCovered, build


class Format(IntEnum):
    """How a linear layer's weights lie in memory; `src/linear.h` draws them."""

    F32 = 0
    BF16 = 1
    INT8_GROUPS = 2
    INT8_ROWS = 3
    INT4_GROUPS = 4


class LinearWeights(Structure):
    """Packed weights of a linear layer."""

    _fields_ = (
        ("values", c_void_p),
        ("row_scales", c_void_p),
        ("bias", c_void_p),
        ("factor", c_float),
        ("rows", c_int),
        ("columns", c_int),
        ("format", c_int),
        ("group", c_int),
    )


class NormWeights(Structure):
    """A norm; all zeros: none."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("eps", c_float), ("kind", c_int))


class KvStorage(Structure):
    """One layer's keys and values."""

    _fields_ = (
        ("keys", c_void_p),
        ("values", c_void_p),
        ("key_scales", c_void_p),
        ("value_scales", c_void_p),
        ("num_blocks", c_int),
        ("block_size", c_int),
        ("kv_heads", c_int),
        ("head_dim", c_int),
        ("type", c_int),
    )


class Layer(Structure):
    """One block of the model."""

    _fields_ = (
        ("input_norm", NormWeights),
        ("attention_output_norm", NormWeights),
        ("feed_forward_norm", NormWeights),
        ("feed_forward_output_norm", NormWeights),
        ("query_norm", NormWeights),
        ("key_norm", NormWeights),
        ("qkv", LinearWeights),
        ("output", LinearWeights),
        ("up", LinearWeights),
        ("down", LinearWeights),
        ("kv", KvStorage),
        ("window", c_int),
        ("rotary", c_int),
    )


class Model(Structure):
    """A whole decoder."""

    _fields_ = (
        ("layers", POINTER(Layer)),
        ("num_layers", c_int),
        ("hidden", c_int),
        ("heads", c_int),
        ("kv_heads", c_int),
        ("head_dim", c_int),
        ("inner", c_int),
        ("vocabulary", c_int),
        ("activation", c_int),
        ("gated", c_int),
        ("parallel", c_int),
        ("placement", c_int),
        ("rotary_dim", c_int),
        ("attention_scale", c_float),
        ("attention_soft_cap", c_float),
        ("final_soft_cap", c_float),
        ("alibi_slopes", c_void_p),
        ("embedding", c_void_p),
        ("position_table", c_void_p),
        ("embedding_format", c_int),
        ("position_format", c_int),
        ("embedding_scale", c_float),
        ("embedding_norm", NormWeights),
        ("final_norm", NormWeights),
        ("logits", LinearWeights),
    )


class Pass(Structure):
    """New tokens of some sequences."""

    _fields_ = (
        ("token_ids", c_void_p),
        ("positions", c_void_p),
        ("query_starts", c_void_p),
        ("context_lengths", c_void_p),
        ("block_tables", c_void_p),
        ("logit_rows", c_void_p),
        ("cosines", c_void_p * 2),
        ("sines", c_void_p * 2),
        ("logits", c_void_p),
        ("tokens", c_int),
        ("sequences", c_int),
        ("table_width", c_int),
        ("num_logits", c_int),
    )


_SIGNATURES = {
    "lmw_layout": (c_long, []),
    "lmw_kv_bytes": (c_long, [c_int] * 5),
    "lmw_request_tiles": (c_int, []),
    "lmw_use_tiles": (None, [c_int]),
    "lmw_open": (c_void_p, [POINTER(Model), c_int]),
    "lmw_close": (None, [c_void_p]),
    "lmw_pass": (c_int, [c_void_p, POINTER(Pass)]),
    "lmw_open_pool": (c_void_p, [c_int]),
    "lmw_close_pool": (None, [c_void_p]),
    "lmw_quantize": (None, [c_void_p, c_int, c_int, c_int, c_void_p, c_void_p]),
    "lmw_linear": (None, [c_void_p, POINTER(LinearWeights), c_void_p, c_int, c_void_p, c_int]),
    "lmw_read": (c_float, [c_void_p, c_void_p, c_long]),
}


@dataclass(frozen=True)
class Library:
    """An opened shared object. Calls through `functions` release the GIL."""

    instruction_set: str
    functions: ctypes.CDLL


@cache
def load(instruction_set: str) -> Library:
    """Open the object for an instruction set, building it where there is none.

    Args:
        instruction_set: one of `build.usable_sets()`; `choice.best` chooses.

    Raises:
        NotCovered: if the processor or the kernel has it not, or there is no object and no
            compiler.
    """
    if instruction_set not in build.usable_sets():
        raise NotCovered(f"this processor has no {instruction_set}")
    try:
        library = open_object(instruction_set, build.find_object(instruction_set))
    except (build.CannotBuild, OSError) as error:
        raise NotCovered(str(error)) from error
    if instruction_set == "amx_int8":
        if not library.functions.lmw_request_tiles():
            raise NotCovered("the operating system refuses this process AMX's tiles")
        library.functions.lmw_use_tiles(1)
    return library


def open_object(instruction_set: str, path: Path) -> Library:
    """A shared object whose functions know their arguments.

    Raises:
        OSError: if it cannot be opened.
    """
    functions = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(functions, name)
        function.restype, function.argtypes = result, arguments
    sizes = (ctypes.sizeof(part) for part in (Model, Layer, Pass))
    layout = sum(size * 1000**i for i, size in enumerate(sizes))
    assert functions.lmw_layout() == layout, "library.py and weights.h differ"
    return Library(instruction_set, functions)
