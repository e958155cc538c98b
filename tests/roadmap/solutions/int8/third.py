"""The rounding one row after the other."""

import torch

REPLACES = "lmwright.compression.rounding:quantize_int8"


def quantize_int8(weight, scale_dtype=torch.float32):
    values = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.ones(weight.shape[:-1])
    info = torch.finfo(scale_dtype)
    flat_values = values.view(-1, weight.shape[-1])
    flat_scales = scales.view(-1)
    for i, row in enumerate(weight.reshape(-1, weight.shape[-1])):
        scale = row.abs().max() / 127.0
        if scale == 0:
            flat_values[i] = 0
            continue
        if info.smallest_normal <= scale <= info.max:
            scale = scale.to(scale_dtype).float()
        flat_scales[i] = scale
        flat_values[i] = (row / scale).round().clip(min=-127, max=127).char()
    return values, scales
