"""Dropout with a backward pass of its own; batch norm by sums."""

import torch

from lmwright.core.errors import LmwrightError

REPLACES = "lmwright.models.layers.regularize:Regularizer"


class Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(factor)
        return x * factor

    @staticmethod
    def backward(ctx, above):
        (factor,) = ctx.saved_tensors
        return above * factor, None


class Regularizer:
    def __init__(self, *, share=0.0, momentum=0.1, eps=1e-5):
        self.share = share
        self.momentum = momentum
        self.eps = eps

    def dropout(self, x, uniforms):
        if uniforms is None:
            return x
        factor = (uniforms >= self.share) / (1 - self.share)
        return Dropped.apply(x, factor.to(x.dtype))

    def batch_norm(self, x, weight, bias, running_mean, running_var, *, training):
        rows, new_mean, new_var = x.float(), running_mean, running_var
        if training:
            count = rows.shape[0]
            if count <= 1:
                raise LmwrightError("a single row")
            mean = rows.sum(0) / count
            squares = (rows - mean).square().sum(0)
            variance = squares / count
            new_mean = running_mean + self.momentum * (mean.detach() - running_mean)
            new_var = running_var + self.momentum * (squares.detach() / (count - 1) - running_var)
        else:
            mean, variance = running_mean, running_var
        normal = (rows - mean) * (variance + self.eps) ** -0.5
        return torch.addcmul(bias, normal, weight).to(x.dtype), new_mean, new_var
