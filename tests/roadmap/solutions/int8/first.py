"""The rounding as it is described, and the lab's twists."""

import torch

REPLACES = "lmwright.compression.rounding:quantize_int8"


def quantize_int8(weight, scale_dtype=torch.float32):
    scale = weight.abs().amax(dim=-1) / 127
    limits = torch.finfo(scale_dtype)
    fits = (scale >= limits.smallest_normal) & (scale <= limits.max)
    scale = torch.where(fits, scale.to(scale_dtype).to(torch.float32), scale)
    scale[scale == 0] = 1.0
    values = torch.round(weight / scale[..., None])
    return values.clamp(-127, 127).to(torch.int8), scale


def quantize_with_offset(weight):
    low = weight.amin(-1).clamp(max=0)
    high = weight.amax(-1).clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    offset = torch.round(-128 - low / scale)
    values = torch.round(weight / scale[..., None]) + offset[..., None]
    return values.clamp(-128, 127).to(torch.int8), scale, offset


def quantize_clipped(weight, share):
    edge = share * weight.abs().amax(dim=-1, keepdim=True)
    return quantize_int8(weight.clamp(-edge, edge))


def multiply_int8(values, scale, vectors):
    return (vectors @ values.float().T) * scale
