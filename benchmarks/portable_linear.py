"""Linear layers on a CPU without a compiler: milliseconds of each way that PyTorch brings along.

    python benchmarks/portable_linear.py            three shapes, 1 to 128 rows, under a minute
    python benchmarks/portable_linear.py --quick    the smallest shape alone

The fastest of repeated calls of each of several layers in turn, so that weights come from where a
model's weights come from. `F.linear` in float32 and bfloat16, and oneDNN's float32 product, stand
beside the ways of `lmwright.compression`; so does fbgemm's usual dynamic layer, which no way uses:
it has one scale for all rows.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.compression.linear import QuantizedLinear
from lmwright.compression.ways import WAYS

SHAPES = ((768, 768), (2048, 768), (9196, 768))
ROWS = (1, 4, 16, 128)
LAYERS_BYTES = 24_000_000
"""Of int8 weights that are gone through: about twelve layers of the smaller shapes."""
SECONDS = 0.1

Product = Callable[[Tensor], Tensor]

onednn = torch.ops.mkldnn._linear_pointwise


def copies(shape: tuple[int, int]) -> int:
    """How many layers are gone through."""
    return max(2, min(12, LAYERS_BYTES // (shape[0] * shape[1])))


def contenders(shape: tuple[int, int]) -> dict[str, list[Product]]:
    """Name -> the products of several layers of a shape."""
    layers = [nn.Linear(shape[1], shape[0], bias=False) for _ in range(copies(shape))]
    plain = [layer.weight.detach() for layer in layers]
    found: dict[str, list[Product]] = {
        "F.linear fp32": [lambda x, w=w: F.linear(x, w) for w in plain],
        "oneDNN fp32": [lambda x, w=w: onednn(x, w, None, "none", [], "") for w in plain],
        "F.linear bf16": [lambda x, w=w: F.linear(x.bfloat16(), w) for w in halves(plain)],
        "fbgemm dynamic": [dynamic(layer) for layer in layers],
    }
    for bits, group_size in ((8, None), (8, 32), (4, 32)):
        rounded = [
            QuantizedLinear.from_linear(layer, bits=bits, group_size=group_size) for layer in layers
        ]
        for name, way in WAYS.items():
            made = [way.make(layer, torch.float32) for layer in rounded]
            products = [product for product in made if product is not None]
            if products and not name.startswith("expanded once"):
                found[f"{name} ({rounded[0].grid})"] = products
    return found


def halves(weights: list[Tensor]) -> list[Tensor]:
    """The same in bfloat16."""
    return [weight.bfloat16() for weight in weights]


def dynamic(layer: nn.Linear) -> Product:
    """PyTorch's dynamically quantised layer."""
    quantized = QuantizedLinear.from_linear(layer)
    zeros = torch.zeros(layer.out_features, dtype=torch.int64)
    weight = torch._make_per_channel_quantized_tensor(
        quantized.weight, quantized.weight_scale[:, 0].double(), zeros, 0
    )
    packed = torch.ops.quantized.linear_prepack(weight, None)
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed)


def milliseconds(products: list[Product], x: Tensor) -> float:
    """Of one product, over all layers in turn: the mean of each one's fastest call."""
    best, end = [float("inf")] * len(products), time.perf_counter() + SECONDS
    while time.perf_counter() < end or max(best) == float("inf"):
        for number, product in enumerate(products):
            start = time.perf_counter()
            product(x)
            best[number] = min(best[number], time.perf_counter() - start)
    return statistics.mean(best) * 1e3


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="Linear layers without a compiler.")
    parser.add_argument("--quick", action="store_true", help="the smallest shape alone")
    quick: bool = parser.parse_args().quick
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, milliseconds")
    for shape in SHAPES[:1] if quick else SHAPES:
        print(f"\n{shape[0]} x {shape[1]} | " + " | ".join(f"M={m}" for m in ROWS))
        for name, products in contenders(shape).items():
            times = [milliseconds(products, torch.randn(m, shape[1])) for m in ROWS]
            print(f"{name} | " + " | ".join(f"{one:.3f}" for one in times))


if __name__ == "__main__":
    main()
