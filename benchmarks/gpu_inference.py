"""Generation on a GPU against transformers: its static cache, and its continuous batching.

    python benchmarks/gpu_inference.py            both shapes
    python benchmarks/gpu_inference.py --quick    a toy, to see that it runs

Random LLaMA-shaped weights in bfloat16, 127 million and 1 billion parameters: 256 tokens of prompt,
then 128 new ones, one after the other, alone and 32 sequences at once. The share of the peak is of
the memory bandwidth that copying reached in the same run: weights once a step, and each sequence's
keys and values; reading the prompt is in the time, so it is less than the engine reaches. Nothing
has a target, and nothing but the refusal was ever run: no card was at hand.
Extras: `gpu`, `bench` (transformers).
"""

import argparse
import importlib.metadata
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Report, Row, alternate
from inference_models import SMALL_VOCABULARY, TOY, VOCABULARY, Shape, write_folder

SHAPES = (
    Shape("12 x 768", 12, 768, 12, 12, 3_072),
    Shape("16 x 2,048", 16, 2_048, 32, 8, 8_192),
)
"""The layers of GPT-2 and of Llama 3.2 1B: 127 million and 1.0 billion parameters in all."""
PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 256, 128, 5
_COPY_BYTES = 1 << 30
Answer = Callable[[], float]
"""Tokens per second of one round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a toy; less than a minute")
    quick = parser.parse_args().quick
    import torch

    if not torch.cuda.is_available():
        print("error: gpu_inference.py needs a CUDA GPU, and PyTorch finds none", file=sys.stderr)
        return 2
    bandwidth = copying_bandwidth()
    gpu = torch.cuda.get_device_name()
    report = Report("gpu_inference", settings={"gpu": gpu, "bytes_per_second": bandwidth})
    for shape in (TOY,) if quick else SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            words = SMALL_VOCABULARY if quick else VOCABULARY
            path = write_folder(shape, Path(folder) / "model", vocabulary=words)
            for batch in (1, 32):
                report.rows.append(measured(shape, path, batch, bandwidth))
    report.show()
    print(f"results: {report.write(quick=quick)}")
    return 0


def measured(shape: Shape, folder: Path, batch: int, bandwidth: float) -> Row:
    """One shape and batch: all contenders in turn."""
    import torch

    draw = torch.Generator().manual_seed(batch)
    prompts = torch.randint(3, SMALL_VOCABULARY, (batch, PROMPT_TOKENS), generator=draw).tolist()
    ours, step_bytes = our_answer(folder, prompts)
    peer = peers(folder, prompts)
    contenders = {"ours": ours, **peer}
    for answer in contenders.values():  # compiles, records
        answer()
    speeds = alternate(contenders, ROUNDS)
    best = max(peer, key=lambda name: statistics.median(speeds[name]))
    speed = statistics.median(speeds["ours"])
    return Row(
        case=f"{shape.name}, {batch} at once",
        unit="tokens/s",
        ours=speed,
        peer=f"{best} {importlib.metadata.version('transformers')}",
        theirs=statistics.median(speeds[best]),
        values=[a / b for a, b in zip(speeds["ours"], speeds[best], strict=True)],
        share_of_peak=speed / batch * step_bytes(batch) / bandwidth,
    )


def our_answer(folder: Path, prompts: list[list[int]]) -> tuple[Answer, Callable[[int], float]]:
    """Our engine, and how many bytes a step reads for so many sequences."""
    import torch

    from lmwright.engine import LLM, SamplingParams
    from lmwright.models.accounting import kv_bytes_per_token

    llm = LLM(folder, device="cuda", dtype=torch.bfloat16, max_sequences=32, prefix_caching=False)
    print(llm.describe())
    params = SamplingParams(max_tokens=NEW_TOKENS, ignore_eos=True)
    table = 0 if llm.model.config.tie_word_embeddings else llm.model.embed_tokens.weight.numel()
    weights = 2 * (sum(weight.numel() for weight in llm.model.parameters()) - table)
    each = kv_bytes_per_token(llm.model.config, 2) * (PROMPT_TOKENS + NEW_TOKENS / 2)
    return timed(lambda: llm.generate(prompts, params), len(prompts) * NEW_TOKENS), (
        lambda batch: weights + batch * each
    )


def peers(folder: Path, prompts: list[list[int]]) -> dict[str, Answer]:
    """Transformers' two ways."""
    import torch
    import transformers

    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model = model.to("cuda").eval()
    tokens = torch.tensor(prompts, device="cuda")
    settings = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    config = transformers.GenerationConfig(**settings, pad_token_id=0, eos_token_id=-1)

    def static() -> object:
        mask = torch.ones_like(tokens)
        return model.generate(
            tokens,
            attention_mask=mask,
            generation_config=config,
            cache_implementation="static",
        )

    count = len(prompts) * NEW_TOKENS
    return {
        "transformers, static cache": timed(static, count),
        "transformers, generate_batch": timed(
            lambda: model.generate_batch(inputs=prompts, generation_config=config), count
        ),
    }


def timed(work: Callable[[], object], tokens: int) -> Answer:
    """Tokens per second of doing the work once, until the GPU is idle."""
    import torch

    def answer() -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return tokens / (time.perf_counter() - started)

    return answer


def copying_bandwidth() -> float:
    """Bytes per second, read and written together; the best of ten copies."""
    import torch

    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = timed(lambda: target.copy_(source), 2 * _COPY_BYTES)
    return max(copy() for _ in range(10))


if __name__ == "__main__":
    sys.exit(main())
