"""Low-rank adapters (Hu et al. 2021, LoRA, section 4.1) in PEFT's folders."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.models.assembly import our_weights
from lmwright.models.config import TransformerConfig
from lmwright.models.families import named

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_PREFIX = "base_model.model."
_WEIGHT = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
_CHANGES = (
    "modules_to_save",
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "megatron_config",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
)
"""Settings that make an adapter more than a product of two matrices."""
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""`init_lora_weights` that leave the model's own weights as they were."""


@dataclass(frozen=True)
class LowRank:
    """What an adapter adds to a linear layer's output: x down^T up^T."""

    down: Tensor
    """(r, K)."""
    up: Tensor
    """(N, r), times alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023, equation 4)."""


def read(folder: Path, config: TransformerConfig) -> dict[str, LowRank]:
    """An adapter's matrices by our names of the layers they belong to, in float32.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors, as PEFT saves them.
        config: of the model that the adapter was trained for.

    Raises:
        LmwrightError: if files are missing or damaged, if the adapter is of another kind or does
            more than add low-rank products to linear layers, or if its matrices do not fit each
            other.
    """
    settings = _settings(folder)
    pairs = _pairs(folder)
    result: dict[str, LowRank] = {}
    for layer, sides in pairs.items():
        if sides.keys() != {"A", "B"} or any(side.ndim != 2 for side in sides.values()):
            raise LmwrightError(f"{folder}: {layer} lacks one of its two matrices")
        down, up = sides["A"].float(), sides["B"].float()
        if down.shape[0] != up.shape[1]:
            raise LmwrightError(f"{folder}: the matrices of {layer} have different ranks")
        up = up * _scale(settings, layer, down.shape[0])
        for name, part in _ours(config, layer, up, bool(settings.get("fan_in_fan_out"))).items():
            result[name] = LowRank(down, part)
    return result


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise LmwrightError(f"{folder} is not an adapter's folder: it has no {CONFIG}")
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise LmwrightError(f"{path} is not a JSON object")
    if settings.get("peft_type") != "LORA":
        raise LmwrightError(f"{path}: adapters of type {settings.get('peft_type')} are not read")
    if settings.get("bias", "none") != "none":
        raise LmwrightError(f"{path}: bias {settings['bias']!r} trains biases, which are not read")
    for name in _CHANGES:
        if settings.get(name):
            raise LmwrightError(
                f"{path}: {name} is not supported",
                hint="merge the adapter into its model with PEFT, and serve that",
            )
    start = settings.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        raise LmwrightError(
            f"{path}: init_lora_weights {start!r} changes the model's own weights",
            hint="save it with path_initial_model_for_weight_conversion in PEFT",
        )
    return settings


def _pairs(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Published layer -> its matrices A and B."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise LmwrightError(f"{folder} has no {WEIGHTS}", hint="other formats are not read")
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise LmwrightError(f"{path} is truncated or corrupt: {error}") from error
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        found = _WEIGHT.fullmatch(name)
        if found is None:
            raise LmwrightError(f"{path}: {name} is no matrix of a linear layer's adapter")
        pairs.setdefault(found["layer"].removeprefix(_PREFIX), {})[found["side"]] = weight
    if not pairs:
        raise LmwrightError(f"{path} holds nothing")
    return pairs


def _scale(settings: Mapping[str, Any], layer: str, rank: int) -> float:
    alpha = settings.get("lora_alpha")
    # As PEFT matches patterns: the whole name, or its end behind a dot.
    for pattern, own in (settings.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):
            alpha = own
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise LmwrightError(f"{CONFIG}: lora_alpha {alpha!r} is not a number")
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _ours(config: TransformerConfig, layer: str, up: Tensor, turned: bool) -> dict[str, Tensor]:
    """(N, r) by our names: layers that are published as one get the rows that are theirs.

    The family's own rule for the layer's weight says which rows: r stands in the place of K.
    """
    published = f"{layer.removeprefix(named(config.model_type).prefix)}.weight"
    split = our_weights(config, {published: up.T.contiguous() if turned else up})
    return {name.removesuffix(".weight"): part for name, part in split.items()}
