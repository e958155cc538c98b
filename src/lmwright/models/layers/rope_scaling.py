"""Rotary frequencies that reach further than the window a model was trained with.

Linear: Chen et al. 2023, Position Interpolation, section 2.3. Dynamic: NTK-aware scaling as
published with `rope_type: dynamic`. YaRN: Peng et al. 2023, section 3. Llama 3: the rule published
with Llama 3.1's weights.
"""

import math

import torch
from torch import Tensor

from lmwright.models.config import RopeScaling, TransformerConfig
from lmwright.models.layers.positions import rotary_frequencies


def scaled_frequencies(
    config: TransformerConfig, position_ids: Tensor, *, local: bool = False
) -> tuple[Tensor, float]:
    """The config's frequencies for the positions at hand, and the factor of cosine and sine.

    Args:
        config: theta, rotated width and scaling.
        position_ids: (B or 1, T); only the largest counts, and only for `dynamic`.
        local: for sliding layers, which have their own theta and are never scaled where they do.

    Returns:
        (R/2,) float32 radians per position, R the rotated width; the factor.
    """
    width = config.rotary_dim or config.head_dim
    theta, scaling = config.rope_theta, config.rope_scaling
    if local and config.rope_local_theta is not None:
        theta, scaling = config.rope_local_theta, None
    device = position_ids.device
    if scaling is None:
        return rotary_frequencies(width, theta, device), 1.0
    window = scaling.original_max_position_embeddings or config.max_position_embeddings
    if scaling.kind == "dynamic":
        return rotary_frequencies(
            width, _stretched(theta, scaling, config, position_ids), device
        ), 1.0
    frequencies = rotary_frequencies(width, theta, device)
    if scaling.kind == "linear":
        return frequencies / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _by_wavelength(frequencies, scaling, window), 1.0
    factor = scaling.attention_factor
    if factor is None:
        factor = 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0
    return _yarn(frequencies, scaling, window, theta), factor


def _stretched(
    theta: float, scaling: RopeScaling, config: TransformerConfig, position_ids: Tensor
) -> Tensor:
    """The base for the longest sequence at hand; a tensor, so that nobody waits for its value."""
    width, usual = config.rotary_dim or config.head_dim, config.max_position_embeddings
    longest = position_ids.max() + 1
    stretch = scaling.factor * longest / usual - (scaling.factor - 1)
    stretched = theta * stretch ** (width / (width - 2))
    return torch.where(longest > usual, stretched, theta)


def _by_wavelength(frequencies: Tensor, scaling: RopeScaling, window: int) -> Tensor:
    """Short waves stay, long ones are divided by the factor, those between are mixed."""
    wavelength = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = ((window / wavelength - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * frequencies / scaling.factor + smooth * frequencies


def _yarn(frequencies: Tensor, scaling: RopeScaling, window: int, theta: float) -> Tensor:
    """Pairs that turn often within the window stay, those that hardly turn are divided."""
    width = 2 * len(frequencies)

    def pair_with(turns: float) -> float:
        return width * math.log(window / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_with(scaling.beta_fast), pair_with(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    high = high if high > low else low + 0.001
    index = torch.arange(len(frequencies), dtype=torch.float32, device=frequencies.device)
    kept = 1 - ((index - low) / (high - low)).clamp(0, 1)
    # In this order, as published models round it: far positions show it.
    divided = 1.0 / (scaling.factor * theta ** (2 * index / width))
    return divided * (1 - kept) + frequencies * kept
