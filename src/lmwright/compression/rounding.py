"""Weights on coarse grids (Jacob et al. 2018, section 2.1): symmetric, so that zero stays zero,
with one scale for a whole row or for each group of neighbours in it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError

GROUP_SIZES = (32, 64, 128)
"""What the kernels of this and other programs take."""

_LARGEST_INT8 = 127  # -128 has no positive partner: leaving it out keeps the grid symmetric

# A scale that maps a group's largest value onto the grid's edge (7) is not the one with the least
# error: 16 values are few, and cutting the largest a little serves all others. Of random normal
# weights in groups of 32, the error falls from 9.7 % to 8.6 % of their root mean square. 8 is among
# them because values that lie on a grid already, down to -8, must be found there again.
_INT4_DIVISORS = (7.0, 7.25, 7.5, 7.75, 8.0, 8.25, 8.5, 8.75, 9.0, 9.5)


@dataclass(frozen=True)
class Grid:
    """How the weights of a linear layer are rounded.

    Args:
        bits: of a value, 8 or 4.
        group_size: neighbours in a row that share a scale; None: the whole row.

    Raises:
        LmwrightError: for other numbers.
    """

    bits: int = 8
    group_size: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (8, 4):
            raise LmwrightError(
                f"weights of {self.bits} bits are not supported", hint="use bits=8 or bits=4"
            )
        if self.group_size not in (None, *GROUP_SIZES):
            raise LmwrightError(
                f"groups of {self.group_size} weights are not supported",
                hint="use group_size=32, 64 or 128, or None for one scale a row",
            )

    def groups(self, columns: int) -> int:
        """Scales of a row of `columns` weights."""
        return columns // (self.group_size or columns)

    def fits(self, columns: int) -> bool:
        """Whether a row divides into whole groups."""
        return self.group_size is None or columns % self.group_size == 0

    def check(self, columns: int, layer: str) -> None:
        """Refuse rows that do not divide into whole groups.

        Args:
            columns: of the weight.
            layer: its name, for the message.

        Raises:
            LmwrightError: if they do not.
        """
        if self.fits(columns):
            return
        smaller = [str(size) for size in GROUP_SIZES if columns % size == 0]
        raise LmwrightError(
            f"{layer}: rows of {columns} weights do not divide into groups of {self.group_size}",
            hint=f"use group_size={' or '.join(smaller) or 'None'}",
        )

    def __str__(self) -> str:
        share = "row" if self.group_size is None else f"groups of {self.group_size}"
        return f"int{self.bits} by {share}"


def quantize_rows(weight: Tensor, grid: Grid | None = None) -> tuple[Tensor, Tensor]:
    """Round each row, or each group of a row, to a grid of its own.

    Scales of groups are rounded to float16, which halves what they take on disk and in kernels,
    unless they are too small for it.

    Args:
        weight: (N, K) floating point; K divides into the grid's groups.
        grid: None: int8 by row.

    Returns:
        values (N, K) int8, in -127 .. 127 or -8 .. 7; scale (N, G) float32, G scales a row, with
        weight = values * scale nearly: for int8, and where nothing is cut off, within half a step.
        Zeros alone have scale 1.
    """
    grid = grid or Grid()
    rows, columns = weight.shape
    assert grid.fits(columns), "the caller says which layer does not divide"
    groups = weight.detach().float().reshape(rows, grid.groups(columns), -1)
    if grid.bits == 8:
        values, scale = quantize_int8(groups, _scale_dtype(grid))
    else:
        scale = _least_error(groups, groups.abs().amax(2), grid)
        values = (groups / scale[:, :, None]).round_().clamp_(-8, 7).to(torch.int8)
    return values.reshape(rows, columns), scale


def quantize_int8(
    weight: Tensor, scale_dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Round each row to 255 steps of its own, -127 to 127 times the row's scale.

    The scale maps the row's largest absolute value onto 127. It is a number of `scale_dtype` where
    that can hold it as a normal number, and the values are rounded with the scale that is given
    back: both are what the reader of the file will multiply.

    Args:
        weight: (..., K) float32.
        scale_dtype: in which the scales will be stored.

    Returns:
        values (..., K) int8; scale (...) float32, 1 for a row of zeros. weight = values * scale
        within half a step, but where the scale is as small as float32 can count.
    """
    scale = _settled(weight.abs().amax(-1) / _LARGEST_INT8, scale_dtype)
    values = (weight / scale.unsqueeze(-1)).round_().clamp_(-_LARGEST_INT8, _LARGEST_INT8)
    return values.to(torch.int8), scale


def expand(values: Tensor, scale: Tensor) -> Tensor:
    """(N, K) float32 weights that (N, K) integers and (N, G) scales stand for."""
    groups = values.view(*scale.shape, -1).float()
    return groups.mul_(scale[:, :, None].float()).view(values.shape)


def _scale_dtype(grid: Grid) -> torch.dtype:
    """Scales of groups are many: they are stored in 16 bits."""
    return torch.float32 if grid.group_size is None else torch.float16


def _settled(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Scales as they are stored: none is 0, and those that `dtype` holds are numbers of it."""
    limits = torch.finfo(dtype)
    held = scale == scale.clamp(limits.smallest_normal, limits.max)
    scale = torch.where(held, scale.to(dtype).float(), scale)
    return scale.masked_fill(scale == 0.0, 1.0)


def _least_error(groups: Tensor, largest: Tensor, grid: Grid) -> Tensor:
    """(N, G) scales of 4-bit groups, of some candidates those with the least squared error."""
    dtype = _scale_dtype(grid)
    best = _settled(largest / _INT4_DIVISORS[0], dtype)
    least = torch.full_like(best, torch.inf)
    for divisor in _INT4_DIVISORS:
        scale = _settled(largest / divisor, dtype)
        steps = groups / scale[:, :, None]
        # In steps, then in units of `largest`: the squares of tiny weights themselves would vanish.
        error = (steps.round().clamp_(-8, 7) - steps).square_().sum(2)
        error *= (scale / largest.masked_fill(largest == 0.0, 1.0)).square()
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best
