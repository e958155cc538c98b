"""Which runner runs a model, and how many blocks it has."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from lmwright.core.device import available_memory_bytes
from lmwright.core.errors import LmwrightError
from lmwright.engine import cuda, native
from lmwright.engine.batch import Runner
from lmwright.engine.native import KeyValues, NotCovered, Weights
from lmwright.engine.runner import BLOCK_SIZE, PortableRunner
from lmwright.models.accounting import kv_bytes_per_token
from lmwright.models.transformer import Decoder
from lmwright.tuning.lora import MultiLora

log = logging.getLogger(__name__)

RunnerKind = Literal["auto", "native", "portable"]

# Of the memory that is free when the engine is opened, at most this part is for keys and values in
# blocks; PyTorch's runner may take twice as much again for `Strips`.
MEMORY_SHARE = 0.25
_BYTES = {"fp32": 4, "bf16": 2, "int8": 1, "fp8": 1}


def open_runner(
    model: Decoder,
    kind: RunnerKind,
    num_blocks: int,
    *,
    weights: Weights,
    kv: KeyValues | None,
    threads: int | None,
    max_sequences: int,
    adapters: Mapping[str, str | Path] | None = None,
) -> Runner:
    """The runner with kernels of our own where it covers the model, else the portable one.

    Which kernels those are, the model's device says.

    Args:
        model: a decoder whose weights do not change any more.
        kind: "native" insists, "portable" does not even try.
        num_blocks: of the cache.
        weights: how weights lie in memory.
        kv: how keys and values lie in memory; None: the runner's own choice.
        threads: of the CPU's native runner; None: its own choice.
        max_sequences: that may run at once.
        adapters: name -> PEFT folder.

    Raises:
        LmwrightError: if the native runner is insisted on, and does not cover the model; or an
            adapter cannot be read, or is not this model's; or the device has no fp8.
    """
    _check_fp8(model, weights, kv)
    why = "asked for"
    if kind != "portable":
        try:
            if adapters:
                raise NotCovered("the native runner has no low-rank adapters")
            if model.output_weight.is_cuda:
                cuda.check_covered(model)
                runner = cuda.open_runner(
                    _with_weights(model, weights),
                    num_blocks=num_blocks,
                    kv=kv,
                    max_sequences=max_sequences,
                )
            else:
                runner = native.open_runner(
                    model,
                    num_blocks=num_blocks,
                    block_size=BLOCK_SIZE,
                    weights=weights,
                    kv=kv,
                    threads=threads,
                )
        except NotCovered as reason:
            if kind == "native":
                raise LmwrightError(
                    f"the native runner does not run this model: {reason}",
                    hint="leave runner at auto, and PyTorch runs it",
                ) from reason
            why = str(reason)
        else:
            log.info("runner: %s", runner.describe())
            return runner
    if kv == "fp8":
        raise LmwrightError(
            f"PyTorch's runner has no keys and values in fp8, and no other runs here: {why}",
            hint="use int8, which it has",
        )
    model = _with_weights(model, weights)
    lora = MultiLora(model, adapters) if adapters else None
    portable = PortableRunner(model, num_blocks, stored=kv, lora=lora, why=why)
    log.info("runner: %s", portable.describe())
    return portable


def device_named(name: str) -> torch.device:
    """The device that a user names.

    Raises:
        LmwrightError: if it is none, or not here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise LmwrightError(f"device={name!r} is no device", hint="use cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise LmwrightError(f"device={name!r}: the engine runs on cpu and cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise LmwrightError(
            f"device={name!r}: PyTorch {torch.__version__} finds {torch.cuda.device_count()} GPUs",
            hint="use cpu; or install a build of PyTorch for this machine's GPU and its driver",
        )
    return device


def _check_fp8(model: Decoder, weights: Weights, kv: KeyValues | None) -> None:
    """Make sure that the device has fp8, where it is asked for."""
    asked = [f"weights={weights}"] * (weights == "fp8") + [f"kv={kv}"] * (kv == "fp8")
    if not asked:
        return
    from lmwright.engine.cuda.coverage import fp8_on

    if (reason := fp8_on(model.output_weight.device)) is not None:
        raise LmwrightError(f"{' and '.join(asked)}: {reason}", hint="use int8 instead")


def _with_weights(model: Decoder, weights: Weights) -> Decoder:
    """The model itself, or a copy with its weights changed."""
    from lmwright.compression import fp8
    from lmwright.compression.weights import quantize

    if weights == "fp8":
        return fp8.quantize(model)
    if weights == "int8":
        return quantize(model)
    if weights == "int4":
        return quantize(model, bits=4, group_size=32)
    if weights == "as_stored":
        return model
    return model.to(torch.float32 if weights == "fp32" else torch.bfloat16)


def usual_blocks(model: Decoder, max_sequences: int, kv: KeyValues | None) -> int:
    """Blocks for as many whole contexts as sequences may run, as far as there is memory."""
    wanted = max_sequences * blocks_for(model.config.max_position_embeddings)
    return max(1, min(wanted, int(MEMORY_SHARE * _free_bytes(model)) // _block_bytes(model, kv)))


def check_blocks(model: Decoder, blocks: int, kv: KeyValues | None) -> None:
    """Make sure that so many blocks can be filled one day; they take memory only as they are.

    Raises:
        LmwrightError: if they would need more memory than is free now.
    """
    free, each = _free_bytes(model), _block_bytes(model, kv)
    if blocks * each > free:
        raise LmwrightError(
            f"kv_blocks={blocks} would take {blocks * each / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB of memory are free",
            hint=f"at most {free // each} of these blocks fit",
        )


def _block_bytes(model: Decoder, kv: KeyValues | None) -> int:
    each = _BYTES[kv] if kv is not None else model.output_weight.element_size()
    return BLOCK_SIZE * kv_bytes_per_token(model.config, each)


def _free_bytes(model: Decoder) -> int:
    weight = model.output_weight
    if weight.is_cuda:
        free: int = torch.cuda.mem_get_info(weight.device)[0]
        return free
    return available_memory_bytes()


def blocks_for(positions: int) -> int:
    """How many blocks so many positions take."""
    return -(-positions // BLOCK_SIZE)
