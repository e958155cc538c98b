"""Which kernels run on this processor: the best instruction set that works, and gains something."""

import logging
import math
import time
from functools import cache

import numpy as np
import torch
from torch import Tensor

from lmwright.engine.native import NotCovered, build, library
from lmwright.engine.native.library import Library
from lmwright.engine.native.pack import GROUP, WIDE_GROUP, Packed, Source, pack

log = logging.getLogger(__name__)

# Of the layers that are measured. Rows: a whole band of a batch and a part of one, so that tiles of
# every shape are met. Weights stay in the second-level cache: memory takes its time either way.
_ROWS, _OUTPUTS, _COLUMNS = 40, 256, 256
_REPEATED, _ROUNDS = 4, 5
"""Products in a row, and how often these are timed; the quickest time counts."""


@cache
def best() -> Library:
    """The kernels for the best instruction set that this machine can use; others are told of.

    Raises:
        NotCovered: if the processor has none of them, or there is no object and no compiler.
    """
    passed_over = NotCovered(f"this processor has none of {', '.join(build.INSTRUCTION_SETS)}")
    for name in build.usable_sets():
        try:
            kernels = library.load(name)
            if name == "amx_int8":
                check_tiles(kernels)
        except NotCovered as reason:
            log.info("no kernels for %s: %s", name, reason)
            passed_over = reason
        else:
            return kernels
    raise passed_over


def check_tiles(kernels: Library) -> None:
    """Compare tiles with the vector instructions of the same object, which are AVX-512 VNNI's.

    Raises:
        NotCovered: if they give other bits, or take longer.
    """
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.standard_normal((_ROWS, _COLUMNS), np.float32))
    seconds = {False: 0.0, True: 0.0}  # without tiles, with them
    for group in (GROUP, WIDE_GROUP):
        for by_row in (False, True):
            layer = _layer(group, by_row, generator)
            outputs = {}
            quickest = {False: math.inf, True: math.inf}
            for _ in range(_ROUNDS):
                for tiles in (False, True):
                    outputs[tiles], taken = _timed(kernels, layer, x, tiles)
                    quickest[tiles] = min(quickest[tiles], taken)
            if not torch.equal(outputs[False], outputs[True]):
                raise NotCovered("products by tiles differ from those by vectors")
            for tiles, least in quickest.items():
                seconds[tiles] += least
    if seconds[True] >= seconds[False]:
        ratio = seconds[True] / seconds[False]
        raise NotCovered(f"products by tiles take {ratio:.2f} times as long as those by vectors")


def _timed(kernels: Library, layer: Packed, x: Tensor, tiles: bool) -> tuple[Tensor, float]:
    """The product, and how long it took `_REPEATED` times over. Tiles stay as they are set."""
    functions, out = kernels.functions, torch.empty(len(x), layer.rows)
    functions.lmw_use_tiles(tiles)
    pool = functions.lmw_open_pool(1)
    start = time.perf_counter()
    functions.lmw_linear(pool, layer.weights, x.data_ptr(), len(x), out.data_ptr(), _REPEATED)
    taken = time.perf_counter() - start
    functions.lmw_close_pool(pool)
    return out, taken


def _layer(group: int, by_row: bool, generator: np.random.Generator) -> Packed:
    weight = generator.integers(-128, 128, (_OUTPUTS, _COLUMNS), np.int8)
    scale = generator.random((_OUTPUTS, 1 if by_row else _COLUMNS // group), np.float32)
    return pack(Source(torch.from_numpy(weight), torch.from_numpy(scale), group=group))
