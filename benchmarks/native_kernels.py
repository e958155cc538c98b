"""Milliseconds of one native pass, and the share of the memory's bandwidth that its weights take.

A random model of 12 layers x 768 (12 heads / 4 key/value heads, feed-forward 2,048, vocabulary
9,196). Run `python benchmarks/native_kernels.py [--quick] [--threads N] [--sets avx2 ...]`.
Bandwidth is measured in the same run: every thread reads its share of as many bytes as the weights
of the largest format. Weights that fit the last-level cache may be read faster than from memory.
"""

import argparse
import ctypes
import statistics
import time

import torch

from lmwright.core.device import physical_cores, processor_name
from lmwright.engine.batch import Batch
from lmwright.engine.native import build, library
from lmwright.engine.native.pack import pages
from lmwright.engine.native.runner import NativeRunner
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder

SHAPE = {
    "vocab_size": 9196,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "tie_word_embeddings": True,
}
CONTEXT = 300  # tokens in the cache while decoding
PROMPT = 280  # tokens of one prefill
BLOCKS = 20  # of 16 positions, a sequence


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--sets", nargs="*", default=build.usable_sets()[:1])
    parser.add_argument("--weights", nargs="*", default=["int8", "int4", "bf16", "fp32"])
    options = parser.parse_args()
    seconds = 0.5 if options.quick else 3.0
    torch.manual_seed(0)
    model = Decoder(TransformerConfig.model_validate(SHAPE)).eval()
    model.initialize(0)
    print(f"{processor_name()}, {options.threads} threads")
    for name in options.sets:
        kernels = library.load(name)
        limit = bandwidth(kernels, options.threads)
        print(f"\n{name}: reading memory at {limit / 1e9:.1f} GB/s")
        print(f"{'weights':8} {'case':>12} {'ms':>8} {'tokens/s':>9} {'of bandwidth':>12}")
        for weights in options.weights:
            start = time.perf_counter()
            runner = NativeRunner(
                model,
                kernels,
                num_blocks=16 * BLOCKS,
                block_size=16,
                weights=weights,
                threads=options.threads,
            )
            packing = time.perf_counter() - start
            for rows in (1, 4, 16):
                taken = best_time(runner, decoding(rows), seconds)
                share = runner.weight_bytes / taken / limit
                report(weights, f"decode x {rows}", taken, rows, f"{share:12.0%}")
            report(weights, "prefill", best_time(runner, prefill(), seconds), PROMPT, "")
            print(f"{weights:8} packed in {packing:.2f} s")


def report(weights: str, case: str, seconds: float, tokens: int, share: str) -> None:
    """Print one row."""
    print(
        f"{weights:8} {case:>12} {seconds * 1e3:8.2f} {tokens / seconds:9.0f} {share}", flush=True
    )


def best_time(runner: NativeRunner, batch: Batch, seconds: float) -> float:
    """Median of the faster half of passes, since other processes only ever slow a pass down."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < end:
        start = time.perf_counter()
        runner.forward(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(sorted(times)[: len(times) // 2])


def decoding(rows: int) -> Batch:
    """One new token for each of some sequences."""
    return Batch(
        token_ids=torch.arange(rows),
        positions=torch.full((rows,), CONTEXT - 1),
        query_starts=torch.arange(rows + 1, dtype=torch.int32),
        context_lengths=torch.full((rows,), CONTEXT, dtype=torch.int32),
        block_tables=torch.arange(rows * BLOCKS, dtype=torch.int32).view(rows, BLOCKS),
        logit_rows=torch.arange(rows),
    )


def prefill() -> Batch:
    """One prompt, whose last token's logits are wanted."""
    return Batch(
        token_ids=torch.arange(PROMPT),
        positions=torch.arange(PROMPT),
        query_starts=torch.tensor([0, PROMPT], dtype=torch.int32),
        context_lengths=torch.tensor([PROMPT], dtype=torch.int32),
        block_tables=torch.arange(BLOCKS, dtype=torch.int32)[None],
        logit_rows=torch.tensor([PROMPT - 1]),
    )


def bandwidth(kernels: library.Library, threads: int) -> float:
    """Bytes per second that all threads together read, of a buffer as large as fp32 weights."""
    buffer = pages(330_000_000)
    buffer.fill_(1)
    functions, address = kernels.functions, ctypes.c_void_p(buffer.data_ptr())
    pool = functions.lmw_open_pool(threads)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        functions.lmw_read(pool, address, buffer.nbytes)
        times.append(time.perf_counter() - start)
    functions.lmw_close_pool(pool)
    return buffer.nbytes / min(times)


if __name__ == "__main__":
    main()
