"""The rounding with halves away from zero."""

import torch

REPLACES = "lmwright.compression.rounding:quantize_int8"


def stored(scale, dtype):
    """The scale as it is read back from the file."""
    narrow = scale.to(dtype).float()
    info = torch.finfo(dtype)
    unfit = (scale < info.tiny) | (scale > info.max)
    narrow[unfit] = scale[unfit]
    return narrow


def quantize_int8(weight, scale_dtype=torch.float32):
    rows = weight.reshape(-1, weight.shape[-1])
    largest = torch.maximum(rows.max(dim=1).values, -rows.min(dim=1).values)
    scale = stored(largest / 127, scale_dtype)
    scale = torch.where(largest == 0, 1.0, scale)
    steps = rows / scale.unsqueeze(1)
    # Half away from zero.
    values = torch.sign(steps) * torch.floor(steps.abs() + 0.5)
    values = torch.where(values > 127, 127.0, torch.where(values < -127, -127.0, values))
    return values.to(torch.int8).reshape(weight.shape), scale.reshape(weight.shape[:-1])
