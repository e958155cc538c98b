"""From the equations, and the lab's variants."""

import torch

from lmwright.core.errors import LmwrightError

REPLACES = "lmwright.models.layers.regularize:Regularizer"


class Regularizer:
    def __init__(self, *, share=0.0, momentum=0.1, eps=1e-5):
        self.share = share
        self.momentum = momentum
        self.eps = eps

    def dropout(self, x, uniforms):
        if uniforms is None:
            return x
        kept = (uniforms >= self.share).to(x.dtype)
        return x * kept / (1 - self.share)

    def batch_norm(self, x, weight, bias, running_mean, running_var, *, training):
        given = x.dtype
        x = x.float()
        if not training:
            y = (x - running_mean) / torch.sqrt(running_var + self.eps)
            return (y * weight + bias).to(given), running_mean, running_var
        n = len(x)
        if n == 1:
            raise LmwrightError("one row has no spread")
        mean = x.mean(0)
        variance = ((x - mean) ** 2).mean(0)
        y = (x - mean) / torch.sqrt(variance + self.eps) * weight + bias
        with torch.no_grad():
            m = self.momentum
            running_mean = (1 - m) * running_mean + m * mean
            running_var = (1 - m) * running_var + m * variance * n / (n - 1)
        return y.to(given), running_mean, running_var


def locked_dropout(x, uniforms, share):
    kept = (uniforms >= share).to(x.dtype)
    return x * kept[:, None, :] / (1 - share)


def gaussian_dropout(x, noise, share):
    return x + x * noise * (share / (1 - share)) ** 0.5


def ghost_batch_norm(x, weight, bias, size, eps):
    parts = []
    for part in x.split(size):
        centred = part - part.mean(0)
        parts.append(centred / torch.sqrt((centred**2).mean(0) + eps) * weight + bias)
    return torch.cat(parts)
