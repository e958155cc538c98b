"""Dropout (Srivastava et al. 2014) and batch normalisation (Ioffe and Szegedy 2015), written out.

Slow, to be read: models use torch's own, to which these are equal, until `--use` puts a
`Regularizer` in their place.
"""

import torch
from torch import Tensor, nn

from lmwright.core import parts
from lmwright.core.errors import LmwrightError

TARGET = "lmwright.models.layers.regularize:Regularizer"
"""As `--use` names it."""


class Regularizer:
    """What keeps a layer from leaning on single values, and on the scale of its inputs.

    Both methods do one thing while a model is trained and another while it is used.

    Args:
        share: of the values that dropout zeroes; 0 <= share < 1.
        momentum: weight of the newest batch in the running statistics.
        eps: added to the variance, so that a constant column is not divided by zero.
    """

    def __init__(self, *, share: float = 0.0, momentum: float = 0.1, eps: float = 1e-5) -> None:
        self.share = share
        self.momentum = momentum
        self.eps = eps

    def dropout(self, x: Tensor, uniforms: Tensor | None) -> Tensor:
        """Zero a random share of the values and let the rest grow, so that the mean stays.

        Args:
            x: any shape, any floating dtype.
            uniforms: float32 in [0, 1), of the shape of `x`: a value is zeroed where its number is
                below `share`. None: the model is used, not trained.

        Returns:
            `x` itself in use; in training what is kept, divided by 1 - share ("inverted" dropout:
            nothing need be done in use).
        """
        if uniforms is None:
            return x
        return torch.where(uniforms >= self.share, x / (1.0 - self.share), 0.0)

    def batch_norm(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        *,
        training: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give every column mean 0 and variance 1, then a scale and a shift that are learnt.

        y = (x - mean) / sqrt(var + eps) * weight + bias

        In training mean and variance are the batch's own, gradients flow through them, and the
        running ones move towards them: running = (1 - momentum) * running + momentum * batch. In
        use they are the running ones. The batch's variance divides by N where it normalises, and by
        N - 1 where it is remembered.

        Args:
            x: (N, C), any floating dtype; statistics are float32 at least.
            weight, bias: (C,).
            running_mean, running_var: (C,), not written into.
            training: whether the model is trained.

        Returns:
            y, (N, C) in the dtype of `x`; the running mean and variance afterwards, without
            gradient.

        Raises:
            LmwrightError: if there is a single row to train on: it has no spread.
        """
        rows = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance = running_mean, running_var
        if training:
            if len(x) < 2:
                raise LmwrightError(
                    "batch normalisation cannot train on one row: it has no spread to divide by",
                    hint="use more rows in a micro-batch",
                )
            mean, variance = rows.mean(0), rows.var(0, correction=0)
            unbiased = variance.detach() * (len(x) / (len(x) - 1))
            running_mean = torch.lerp(running_mean, mean.detach(), self.momentum)
            running_var = torch.lerp(running_var, unbiased, self.momentum)
        y = (rows - mean) / (variance + self.eps).sqrt() * weight + bias
        return y.to(x.dtype), running_mean, running_var


class _Dropout(nn.Dropout):
    """torch's module, its values those of a `Regularizer`."""

    def forward(self, x: Tensor) -> Tensor:
        uniforms = torch.rand(x.shape, device=x.device) if self.training and self.p else None
        return Regularizer(share=self.p).dropout(x, uniforms)


class _BatchNorm(nn.BatchNorm1d):
    """torch's module, its values those of a `Regularizer`."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        y, mean, variance = Regularizer(momentum=self.momentum, eps=self.eps).batch_norm(
            x, self.weight, self.bias, self.running_mean, self.running_var, training=self.training
        )
        if self.training:
            with torch.no_grad():
                self.running_mean.copy_(mean)
                self.running_var.copy_(variance)
                self.num_batches_tracked.add_(1)
        return y


def make_dropout(share: float) -> nn.Dropout:
    """Dropout of a layer's values: torch's, or the `Regularizer` that is in use."""
    return _Dropout(share) if parts.in_use(TARGET) else nn.Dropout(share)


def make_batch_norm(width: int) -> nn.BatchNorm1d:
    """Batch normalisation of (N, width): torch's, or the `Regularizer` that is in use."""
    return _BatchNorm(width) if parts.in_use(TARGET) else nn.BatchNorm1d(width)
