"""Compiles the kernels, down to machine code, for GPUs that need not be here.

    python tests/engine/cuda/compiled.py 80 bf16 bf16 64 few

Arguments: compute capability without its dot, type of queries, type of the cache, head_dim, and
few or many queries. Prints a line for each kernel. Run by test_compiled.py in a process of its own,
since triton must not be its own interpreter there.
"""

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lmwright.engine.cuda import kernels
from lmwright.engine.cuda.paged_attention import tile_keys
from lmwright.engine.cuda.plan import Tiling

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
LARGEST = {"i8": 127.0, "fp8e4nv": 448.0}


def compiled(function, types, constants, capability, **options):
    """Machine code of one kernel; (bytes of shared memory, PTX)."""
    names = function.arg_names
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    source = ASTSource(
        fn=function,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    found = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert found.asm["cubin"]
    return found.metadata.shared, found.asm["ptx"]


def main(capability, query, stored, width, rows):
    numbers = dict.fromkeys(kernels.attend.arg_names, "i32") | {"scale": "fp32"}
    pointers = {
        **dict.fromkeys(("positions", "pieces", "tables", "slots"), "*i32"),
        **dict.fromkeys(("scales", "slopes", "highest_of_split", "total_of_split"), "*fp32"),
        **dict.fromkeys(("queries", "new_keys", "new_values", "output"), f"*{query}"),
        "cache": f"*{stored}",
    }
    constants = {
        "group": 4,
        "head_dim": width,
        "block_size": 16,
        "window": 100,
        "soft_cap": 30.0,
        "biased": True,
        "scaled": stored == "i8",
        "whole": rows == "many",
        "tile_rows": getattr(Tiling(4, width * BYTES[query]), rows),
        "tile_keys": tile_keys(width, BYTES[query]),
        "tile_dims": width,
        "widened": False,
    }
    types = numbers | pointers
    shared, ptx = compiled(kernels.attend, types, constants, capability, num_warps=4, num_stages=2)
    print(f"attend: {shared} bytes of shared memory, mma {'mma' in ptx}")
    constants = {"heads": 4, "largest": LARGEST.get(stored, 0.0)} | constants
    strides = dict.fromkeys(kernels.store.arg_names, "i32") | pointers
    constants = {name: v for name, v in constants.items() if name in kernels.store.arg_names}
    shared, _ = compiled(kernels.store, strides, constants, capability, num_warps=1)
    print(f"store: {shared} bytes of shared memory")
    types = pointers | {"parts": "*fp32"}
    constants = {"head_dim": width, "splits": 16, "tile_dims": width}
    shared, _ = compiled(kernels.combine, types, constants, capability, num_warps=4)
    print(f"combine: {shared} bytes of shared memory")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]), given[1], given[2], int(given[3]), given[4])
