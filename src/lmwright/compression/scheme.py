"""`quantization_config` of config.json: how layers are rounded, in compressed-tensors' words."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmwright.compression.rounding import GROUP_SIZES, Grid
from lmwright.core.errors import LmwrightError

METHOD = "compressed-tensors"
FORMAT = "pack-quantized"
_SUPPORTED = f"supported: {METHOD}, {FORMAT}, symmetric weights of 8 or 4 bits by channel or group"


def written(layers: Mapping[str, Grid], others: Iterable[str]) -> dict[str, Any]:
    """The entry for a folder.

    Args:
        layers: published name of each quantised layer -> how it is rounded.
        others: published names of the linear layers that are not.
    """
    grids = sorted(set(layers.values()), key=str)
    groups = {
        f"group_{number}": {
            # One way of rounding is that of the class; several are told apart by their names.
            "targets": ["Linear"] if len(grids) == 1 else _names(layers, grid),
            "weights": _weights(grid),
            "input_activations": None,
            "output_activations": None,
        }
        for number, grid in enumerate(grids)
    }
    return {
        "quant_method": METHOD,
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": sorted(others),
    }


def read(quantization: Any, folder: Path) -> list[Grid]:
    """The ways of rounding that a folder announces.

    Args:
        quantization: the entry of its config.json.
        folder: for messages.

    Raises:
        LmwrightError: if it is of another program, or rounds in a way that is not read; it says
            which.
    """
    if not isinstance(quantization, Mapping) or quantization.get("quant_method") != METHOD:
        raise _unsupported(folder, f"not {METHOD}")
    groups = quantization.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise _unsupported(folder, "no config_groups")
    if quantization.get("kv_cache_scheme"):
        raise _unsupported(folder, "a scheme for cached keys and values")
    usual = quantization.get("format")
    return [_grid(group, usual, folder) for group in groups.values()]


def matching(grids: Sequence[Grid], name: str, shapes: "Shapes", folder: Path) -> Grid:
    """Which of the announced ways of rounding a stored layer has, by its tensors' shapes.

    Raises:
        LmwrightError: if none, or more than one.
    """
    fitting = [grid for grid in dict.fromkeys(grids) if _fits(grid, shapes)]
    if len({grid.bits for grid in fitting}) == 1:
        return fitting[0]  # a row of one group is a row, whatever it is called
    announced = ", ".join(str(grid) for grid in grids)
    trouble = "several of" if fitting else "not as"
    raise LmwrightError(
        f"{folder}: the tensors of {name} fit {trouble} what config.json announces ({announced})",
        hint="the folder is damaged, or mixes layers in a way that is not read",
    )


Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Of a layer's whole weight, its packed words and its scales."""


def _fits(grid: Grid, shapes: Shapes) -> bool:
    (rows, columns), packed, scale = shapes
    whole = packed == (rows, -(-columns * grid.bits // 32))
    return whole and grid.fits(columns) and scale in ((rows, grid.groups(columns)), (rows,))


def _names(layers: Mapping[str, Grid], grid: Grid) -> list[str]:
    return sorted(name for name, own in layers.items() if own == grid)


def _weights(grid: Grid) -> dict[str, Any]:
    return {
        "num_bits": grid.bits,
        "type": "int",
        "symmetric": True,
        "strategy": "channel" if grid.group_size is None else "group",
        "group_size": grid.group_size,
        "dynamic": False,
    }


def _grid(group: Any, usual: Any, folder: Path) -> Grid:
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        raise _unsupported(folder, "no weights in a group")
    form = group.get("format") or usual
    bits, strategy = weights.get("num_bits"), weights.get("strategy")
    found = f"{form} of {bits} bits by {strategy}"
    if strategy == "group":
        found += f" of {weights.get('group_size')}"
    if not weights.get("symmetric", True):
        raise _unsupported(folder, f"{found}, asymmetric: its zero points are not read")
    if group.get("input_activations"):
        raise _unsupported(folder, f"{found}, with rounded activations")
    size = weights.get("group_size") if strategy == "group" else None
    known = form == FORMAT and weights.get("type", "int") == "int" and bits in (8, 4)
    shaped = strategy == "channel" or (strategy == "group" and size in GROUP_SIZES)
    if not (known and shaped):
        raise _unsupported(folder, found)
    return Grid(8 if bits == 8 else 4, size)


def _unsupported(folder: Path, found: str) -> LmwrightError:
    return LmwrightError(f"{folder}: its quantisation ({found}) is not supported", hint=_SUPPORTED)
