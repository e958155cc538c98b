"""Quantised models in memory and on disk.

The folder follows compressed-tensors' layout `pack-quantized`: per linear layer `weight_packed`
(int32, four weights each, lowest byte first, 128 added), `weight_scale` (N, 1) and `weight_shape`.
transformers opens it when the package compressed-tensors is installed.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.compression.linear import QuantizedLinear
from lmwright.core.errors import LmwrightError
from lmwright.models import exchange
from lmwright.models.assembly import assemble, our_name, published_name, published_state
from lmwright.models.exchange import SavesItself
from lmwright.models.hub import locate
from lmwright.models.layers.norms import LayerNorm, RMSNorm
from lmwright.models.transformer import Decoder

FORMAT = "pack-quantized"
_PER_WORD = 4  # int8 values in an int32
_OFFSET_BIT = 0x80  # flipping the sign bit adds 128


def quantize(model: Decoder, bits: int = 8) -> Decoder:
    """A copy of `model` whose blocks' linear layers have int8 weights; it cannot be trained.

    Embedding, output projection and norms stay as they are: a rounded embedding row is a rounded
    word, and norms are tiny. Experts and their router stay, too, and what is quantised already.

    Args:
        model: left unchanged.
        bits: 8.

    Raises:
        LmwrightError: for other `bits`.
    """
    if bits != 8:
        raise LmwrightError(f"weights of {bits} bits are not supported", hint="use bits=8")
    result = copy.deepcopy(model)
    for name, module in list(result.named_modules()):
        routes = name.endswith(".router")
        if name.startswith("layers.") and isinstance(module, nn.Linear) and not routes:
            _replace(result, name, QuantizedLinear.from_linear(module))
    return result.requires_grad_(False).eval()


def save(
    model: Decoder,
    folder: str | Path,
    *,
    tokenizer: str | Path | SavesItself | None = None,
    eos_token_id: int | Iterable[int] | None = None,
) -> None:
    """Write a quantised model's folder; whole or not at all.

    The embedding (and the output projection, where it is apart) is written in bfloat16.

    Args:
        model: from `quantize`.
        folder, tokenizer, eos_token_id: as for `models.save`.

    Raises:
        LmwrightError: if `folder` holds something else, or cannot be written.
    """
    config = model.config
    quantized = {n for n, module in model.named_modules() if isinstance(module, QuantizedLinear)}
    if len({published_name(config, f"{n}.weight") for n in quantized}) < len(quantized):
        raise LmwrightError(
            f"{config.model_type} stores several projections as one; int8 folders cannot",
            hint="save the model as it was, and quantise it where it is used",
        )
    weights: dict[str, Tensor] = {}
    plain: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        layer, _, part = name.rpartition(".")
        if layer in quantized and part == "weight":
            weights[published_name(config, f"{layer}.weight_packed")] = pack(weight)
            weights[published_name(config, f"{layer}.weight_shape")] = torch.tensor(weight.shape)
        elif layer in quantized:
            weights[published_name(config, name)] = weight
        else:
            whole = layer in ("embed_tokens", "lm_head")
            plain[name] = weight.to(torch.bfloat16) if whole else weight
    weights |= published_state(config, plain)
    extra = {
        "torch_dtype": str(_norm_dtype(model)).removeprefix("torch."),
        "quantization_config": _quantization_config(),
    }
    exchange.write_folder(
        model.config, weights, folder, tokenizer=tokenizer, eos_token_id=eos_token_id, extra=extra
    )


def load(folder_or_id: str | Path, *, dtype: torch.dtype | None = None) -> Decoder:
    """Open a model, quantised or not: like `models.load`, which takes only the latter.

    Args:
        folder_or_id: a model folder, or an id of the hub.
        dtype: in which to compute; None: what config.json says of a quantised model, else as
            stored.

    Raises:
        LmwrightError: as `models.load`, if it is no decoder that predicts the next token, and if
            the weights are quantised in another way.
    """
    folder = locate(folder_or_id)
    values = exchange.read_config_json(folder)
    if "quantization_config" not in values:
        plain = exchange.load(folder, dtype=dtype)
        if not (isinstance(plain, Decoder) and plain.config.task == "causal_lm"):
            raise LmwrightError(
                f"{folder} does not continue text: it holds the model {type(plain).__name__}",
                hint="a decoder is needed, such as GPT-2, LLaMA or Qwen3, for the next token",
            )
        return plain
    _check_format(values["quantization_config"], folder)
    config = exchange.config_from(values, folder)
    published, layers = _unpacked(exchange.read_weights(folder), folder)

    def prepare(model: nn.Module) -> None:
        linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        for name in (our_name(config, layer) for layer in layers):
            if name in linear:
                old = linear[name]
                bias = old.bias is not None
                _replace(model, name, QuantizedLinear(old.in_features, old.out_features, bias))

    model = assemble(
        config, published, folder, dtype=dtype or _stated_dtype(values, folder), prepare=prepare
    )
    assert isinstance(model, Decoder)
    return model.requires_grad_(False)


def _norm_dtype(model: nn.Module) -> torch.dtype:
    """What the model computes in: the dtype of a weight that is never quantised."""
    norms = (m.weight for m in model.modules() if isinstance(m, (RMSNorm, LayerNorm)))
    return next(norms).dtype


def pack(values: Tensor) -> Tensor:
    """(N, K) int8 -> (N, ceil(K / 4)) int32, four values a word, the first in the lowest byte."""
    padded = F.pad(values, (0, -values.shape[1] % _PER_WORD))
    return (padded.contiguous().view(torch.uint8) ^ _OFFSET_BIT).view(torch.int32)


def unpack(words: Tensor, columns: int) -> Tensor:
    """`pack` undone: (N, W) int32 -> (N, columns) int8."""
    return (words.contiguous().view(torch.uint8) ^ _OFFSET_BIT).view(torch.int8)[:, :columns]


def _unpacked(weights: Mapping[str, Tensor], folder: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Weights with their integers unpacked, and the names of the layers that had them."""
    suffix = ".weight_packed"
    layers = [name.removesuffix(suffix) for name in weights if name.endswith(suffix)]
    result = dict(weights)
    for layer in layers:
        words = result.pop(f"{layer}.weight_packed")
        shape = result.pop(f"{layer}.weight_shape", None)
        scale = result.get(f"{layer}.weight_scale")
        if shape is None or scale is None:
            raise LmwrightError(f"{folder}: {layer} lacks weight_shape or weight_scale")
        if words.dtype != torch.int32 or scale.numel() != words.shape[0]:
            raise LmwrightError(f"{folder}: {layer} is not int8 with one scale a row")
        result[f"{layer}.weight"] = unpack(words, int(shape[1]))
        result[f"{layer}.weight_scale"] = scale.float().view(-1, 1)
    return result, layers


def _quantization_config() -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {
                    "num_bits": 8,
                    "type": "int",
                    "symmetric": True,
                    "strategy": "channel",
                    "dynamic": False,
                },
                "input_activations": None,
                "output_activations": None,
            }
        },
        "ignore": ["lm_head"],
    }


def _check_format(quantization: Any, folder: Path) -> None:
    """Refuse what is not symmetric int8 with one scale a row, saying what it is."""
    found = "not compressed-tensors"
    if isinstance(quantization, Mapping) and quantization.get("quant_method") == (
        "compressed-tensors"
    ):
        groups = [
            g.get("weights") or {} for g in (quantization.get("config_groups") or {}).values()
        ]
        found = f"{quantization.get('format')} of " + ", ".join(
            f"{g.get('num_bits')} bits by {g.get('strategy')}" for g in groups
        )
        wanted = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
        fits = all(wanted.items() <= g.items() for g in groups)
        if quantization.get("format") == FORMAT and groups and fits:
            return
    raise LmwrightError(
        f"{folder}: its quantisation ({found}) is not supported",
        hint=f"supported: compressed-tensors, {FORMAT}, symmetric int8 by channel",
    )


def _stated_dtype(values: Mapping[str, Any], folder: Path) -> torch.dtype:
    name = values.get("torch_dtype", values.get("dtype", "float32"))
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise LmwrightError(f"{folder / 'config.json'}: torch_dtype {name!r} is not a dtype")
    return dtype


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(model.get_submodule(owner), last, module)
