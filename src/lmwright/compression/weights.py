"""Quantised models in memory and on disk.

The folder follows compressed-tensors' layout `pack-quantized`: per linear layer `weight_packed`
(int32, see `packing`), `weight_scale` (N, G) and `weight_shape`. transformers opens it when the
package compressed-tensors is installed; what that package wrote for transformers is opened here.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmwright.compression import packing, scheme
from lmwright.compression.linear import QuantizedLinear
from lmwright.compression.rounding import Grid
from lmwright.core.errors import LmwrightError
from lmwright.models import exchange
from lmwright.models.assembly import assemble, our_names, published_name, published_state
from lmwright.models.config import TransformerConfig
from lmwright.models.exchange import SavesItself
from lmwright.models.gguf import reader as gguf
from lmwright.models.hub import locate
from lmwright.models.layers.norms import LayerNorm, RMSNorm
from lmwright.models.transformer import Decoder
from lmwright.models.weights_files import has_weights


def quantize(model: Decoder, bits: int = 8, group_size: int | None = None) -> Decoder:
    """A copy of `model` whose blocks' linear layers have integer weights; it cannot be trained.

    Embedding, output projection and norms stay as they are: a rounded embedding row is a rounded
    word, and norms are tiny. Experts and their router stay, too, and what is quantised already.

    Args:
        model: left unchanged.
        bits: of a weight, 8 or 4.
        group_size: neighbours in a row that share a scale, 32, 64 or 128; None: the whole row,
            which is coarse for 4 bits.

    Raises:
        LmwrightError: for other numbers, or if a layer's rows do not divide into groups.
    """
    grid = Grid(bits, group_size)
    result = copy.deepcopy(model)
    for name, module in list(result.named_modules()):
        routes = name.endswith(".router")
        if name.startswith("layers.") and isinstance(module, nn.Linear) and not routes:
            grid.check(module.in_features, name)
            layer = QuantizedLinear.from_linear(module, bits=bits, group_size=group_size)
            _replace(result, name, layer)
    return result.requires_grad_(False).eval()


def save(
    model: Decoder,
    folder: str | Path,
    *,
    tokenizer: str | Path | SavesItself | None = None,
    eos_token_id: int | Iterable[int] | None = None,
) -> None:
    """Write a quantised model's folder; whole or not at all.

    The embedding (and the output projection, where it is apart and not quantised) is written in
    bfloat16; scales in float16 where that loses nothing, else in float32.

    Args:
        model: from `quantize`, or from `load` with its integers kept.
        folder: as for `models.save`.
        tokenizer: as for `models.save`.
        eos_token_id: as for `models.save`.

    Raises:
        LmwrightError: if `folder` holds something else, or cannot be written.
    """
    config = model.config
    layers = {n: m for n, m in model.named_modules() if isinstance(m, QuantizedLinear)}
    if len({published_name(config, f"{n}.weight") for n in layers}) < len(layers):
        raise LmwrightError(
            f"{config.model_type} stores several projections as one; quantised folders cannot",
            hint="save the model as it was, and quantise it where it is used",
        )
    weights: dict[str, Tensor] = {}
    plain: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        layer, _, part = name.rpartition(".")
        if layer in layers and part == "weight":
            packed = packing.pack(weight, layers[layer].bits)
            weights[published_name(config, f"{layer}.weight_packed")] = packed
            weights[published_name(config, f"{layer}.weight_shape")] = torch.tensor(weight.shape)
        elif layer in layers:
            weights[published_name(config, name)] = _narrow(weight) if "scale" in part else weight
        else:
            whole = layer in ("embed_tokens", "lm_head")
            plain[name] = weight.to(torch.bfloat16) if whole else weight
    weights |= published_state(config, plain)
    extra = {
        "torch_dtype": str(_norm_dtype(model)).removeprefix("torch."),
        "quantization_config": _quantization_config(model, layers),
    }
    exchange.write_folder(
        model.config, weights, folder, tokenizer=tokenizer, eos_token_id=eos_token_id, extra=extra
    )


def load(
    folder_or_id: str | Path, *, dtype: torch.dtype | None = None, keep_quantized: bool = False
) -> Decoder:
    """Open a model, quantised or not: like `models.load`, which takes only the latter.

    Args:
        folder_or_id: a model folder, a .gguf file or a folder that holds one, or an id of the hub.
        dtype: in which to compute; None: what config.json says of a quantised model, else as
            stored.
        keep_quantized: whether the q8_0 and q4_0 matrices of a GGUF file stay the integers that
            they are; embeddings, experts and other types become floating point in any case.

    Raises:
        LmwrightError: as `models.load`, if it is no decoder that predicts the next token, and if
            the weights are quantised in another way.
    """
    place = locate(folder_or_id)
    file = _gguf_file(place)
    if file is not None and keep_quantized:
        return _load_kept(file, dtype)
    if file is not None or place.is_file():
        return _decoder(exchange.load(file or place, dtype=dtype), place)
    values = exchange.read_config_json(place)
    if "quantization_config" not in values:
        return _decoder(exchange.load(place, dtype=dtype), place)
    grids = scheme.read(values["quantization_config"], place)
    config = exchange.config_from(values, place)
    published, layers = _unpacked(exchange.read_weights(place), grids, place)
    dtype = dtype or _stated_dtype(values, place)
    return _assembled(config, published, layers, place, dtype)


def _decoder(model: object, place: Path) -> Decoder:
    if not (isinstance(model, Decoder) and model.config.task == "causal_lm"):
        raise LmwrightError(
            f"{place} does not continue text: it holds the model {type(model).__name__}",
            hint="a decoder is needed, such as GPT-2, LLaMA or Qwen3, for the next token",
        )
    return model


def _gguf_file(place: Path) -> Path | None:
    """The GGUF file that is meant by a path; None if other weights are."""
    if place.is_file():
        return place if place.suffix == ".gguf" else None
    files = [] if has_weights(place) else sorted(place.glob("*.gguf"))
    if len(files) > 1:
        raise LmwrightError(
            f"{place} holds {len(files)} GGUF files", hint=f"name one of them, such as {files[0]}"
        )
    return files[0] if files else None


def _load_kept(file: Path, dtype: torch.dtype | None) -> Decoder:
    """A GGUF file's model whose q8_0 and q4_0 matrices stay integers."""
    (values, published), kept = gguf.read_quantized(file, dtype=dtype)
    config = exchange.config_from(values, file)
    layers = {name: Grid(bits, gguf.GROUP) for name, bits in kept.items()}
    return _assembled(config, published, layers, file, dtype)


def _assembled(
    config: TransformerConfig,
    published: Mapping[str, Tensor],
    layers: Mapping[str, Grid],
    place: Path,
    dtype: torch.dtype | None,
) -> Decoder:
    """A model of which some published layers are integers, given as `weight` and `weight_scale`."""
    prepare = _quantized_layers(config, layers)
    model = _decoder(assemble(config, published, place, dtype=dtype, prepare=prepare), place)
    return model.requires_grad_(False)


def _quantized_layers(
    config: TransformerConfig, layers: Mapping[str, Grid]
) -> Callable[[nn.Module], None]:
    """Puts empty quantised layers in the places of published ones."""

    def prepare(model: nn.Module) -> None:
        linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        for published, grid in layers.items():
            for weight in our_names(config, f"{published}.weight"):
                name = weight.removesuffix(".weight")
                if (old := linear.get(name)) is not None:
                    width, height, bias = old.in_features, old.out_features, old.bias is not None
                    new = QuantizedLinear(
                        width, height, bias, bits=grid.bits, group_size=grid.group_size
                    )
                    _replace(model, name, new)

    return prepare


def _norm_dtype(model: nn.Module) -> torch.dtype:
    """What the model computes in: the dtype of a weight that is never quantised."""
    norms = (m.weight for m in model.modules() if isinstance(m, (RMSNorm, LayerNorm)))
    return next(norms).dtype


def _narrow(scale: Tensor) -> Tensor:
    """In float16, if that loses nothing."""
    half = scale.half()
    return half if torch.equal(half.to(scale.dtype), scale) else scale


def _unpacked(
    weights: Mapping[str, Tensor], grids: list[Grid], folder: Path
) -> tuple[dict[str, Tensor], dict[str, Grid]]:
    """Weights with their integers unpacked, and the layers that had them."""
    suffix = ".weight_packed"
    names = [name.removesuffix(suffix) for name in weights if name.endswith(suffix)]
    result = dict(weights)
    layers: dict[str, Grid] = {}
    for name in names:
        packed = result.pop(f"{name}.weight_packed")
        shape = result.pop(f"{name}.weight_shape", None)
        scale = result.get(f"{name}.weight_scale")
        if shape is None or scale is None or shape.numel() != 2 or packed.dtype != torch.int32:
            raise LmwrightError(f"{folder}: {name} lacks weight_shape or weight_scale")
        if f"{name}.weight_g_idx" in result:
            raise LmwrightError(f"{folder}: {name} has its columns reordered, which is not read")
        whole = (int(shape[0]), int(shape[1]))
        shapes = (whole, tuple(packed.shape), tuple(scale.shape))
        layers[name] = grid = scheme.matching(grids, name, shapes, folder)
        result[f"{name}.weight"] = packing.unpack(packed, whole[1], grid.bits)
        result[f"{name}.weight_scale"] = scale.float().view(whole[0], -1)
    return result, layers


def _quantization_config(model: Decoder, layers: Mapping[str, QuantizedLinear]) -> dict[str, Any]:
    def published(name: str) -> str:
        return published_name(model.config, f"{name}.weight").removesuffix(".weight")

    others = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)} | {"lm_head"}
    return scheme.written(
        {published(name): layer.grid for name, layer in layers.items()},
        {published(name) for name in others - layers.keys()},
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
