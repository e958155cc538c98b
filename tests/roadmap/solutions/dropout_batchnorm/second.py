"""Dropout with masked_fill, statistics with var_mean, running ones with lerp."""

import torch

from lmwright.core.errors import LmwrightError

REPLACES = "lmwright.models.layers.regularize:Regularizer"


class Regularizer:
    def __init__(self, *, share=0.0, momentum=0.1, eps=1e-5):
        self.share, self.momentum, self.eps = share, momentum, eps

    def dropout(self, x, uniforms):
        if uniforms is None or not self.share:
            return x
        return x.masked_fill(uniforms < self.share, 0.0).div(1.0 - self.share)

    def batch_norm(self, x, weight, bias, running_mean, running_var, *, training):
        if not training:
            return (
                self._apply(x, running_mean, running_var, weight, bias),
                running_mean,
                running_var,
            )
        if x.shape[0] < 2:
            raise LmwrightError("batch norm needs two rows to train on", hint="larger batches")
        variance, mean = torch.var_mean(x.float(), dim=0, correction=0)
        y = self._apply(x, mean, variance, weight, bias)
        unbiased = torch.var(x.detach().float(), dim=0, correction=1)
        running_mean = running_mean.lerp(mean.detach(), self.momentum)
        running_var = running_var.lerp(unbiased, self.momentum)
        return y, running_mean, running_var

    def _apply(self, x, mean, variance, weight, bias):
        scale = weight * torch.rsqrt(variance + self.eps)
        return ((x.float() - mean) * scale + bias).to(x.dtype)
