"""What a part takes and gives, whatever it is: copies, comparison, and how it is shown.

A value is a number, text, None, a tensor or an array, or a tuple, list, dict, set or dataclass of
values; anything else is compared by `==`.
"""

import copy
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_TOLERANCES = {"float64": 1e-9, "float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-2}
_FIXED = (bool, int, float, str, bytes, type(None))  # types whose values nobody can change
_SHOWN = 24  # numbers of a value


@dataclass(frozen=True)
class Difference:
    """Where two values part.

    Args:
        where: path to the place, such as "[1][0, 2]"; empty for the whole.
        yours, expected: as text, at that place.
        relative: largest difference over the root mean square of what was expected; infinite where
            that says nothing (another shape, text, NaN).
    """

    where: str
    yours: str
    expected: str
    relative: float = math.inf


def copied(value: Any) -> Any:
    """A deep copy; of tensors detached, with their wish for a gradient kept."""
    if type(value) in _FIXED:
        return value
    if is_tensor(value):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, list | tuple | dict | set):
        return rebuilt(value, copied)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return rebuilt(value, copied)
    return copy.deepcopy(value)


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same container with every item changed: a list, tuple, dict, set or dataclass."""
    if isinstance(value, dict):
        found = copy.copy(value)  # a Counter stays one; its `update` would add
        for key, item in value.items():
            found[key] = change(item)
        return found
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(change(item) for item in value))
    if isinstance(value, list | tuple | set):
        return type(value)(change(item) for item in value)
    found = copy.copy(
        value
    )  # not `replace`: it would lose fields that the constructor does not take
    for field in dataclasses.fields(value):
        # A frozen class refuses plain assignment.
        object.__setattr__(found, field.name, change(getattr(value, field.name)))
    return found


def compare(
    yours: Any, expected: Any, tolerance: float | None = None
) -> tuple[float, Difference | None]:
    """How far `yours` is from `expected`.

    Args:
        yours, expected: values.
        tolerance: relative, for every floating-point number; None: by its dtype, of Python's floats
            1e-9.

    Returns:
        the largest relative difference seen, and the first place where it is more than allowed.
    """
    worst = 0.0
    for where, mine, right in _leaves(yours, expected, ""):
        relative, found = _compare_leaf(where, mine, right, tolerance)
        if found is not None:
            return max(worst, relative), found
        worst = max(worst, relative)
    return worst, None


def same_structure(yours: Any, expected: Any) -> Difference | None:
    """Where types, shapes or dtypes differ, numbers aside."""
    for where, mine, right in _leaves(yours, expected, ""):
        a, b = _kind(mine), _kind(right)
        if a != b and not (_is_number(mine) and _is_number(right)):
            return Difference(where, a, b)
    return None


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; loads nothing."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: Any) -> bool:
    """Whether it is a NumPy array; loads nothing."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def as_tensor(array: Any) -> Any:
    """An array's numbers as a tensor; integers of any width become int64."""
    import torch

    exact = array.dtype.kind in "iu"
    return torch.from_numpy(array.astype("int64") if exact else array.copy())


def tensors_in(value: Any) -> Iterator[Any]:
    """Every tensor in a value, in order."""
    if is_tensor(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


def elements(value: Any) -> int:
    """How much there is to look at: numbers in tensors, characters, items."""
    if is_tensor(value):
        return int(value.numel())
    if is_array(value):
        return int(value.size)
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(elements(item) for item in value.values()) + len(value)
    if isinstance(value, list | tuple | set | frozenset):
        return sum(elements(item) for item in value) + len(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return sum(elements(getattr(value, f.name)) for f in dataclasses.fields(value))
    return 1


def shown(value: Any) -> str:
    """One short text for a person: small values whole, large ones by shape."""
    if is_array(value):
        return _numbers(value.tolist()) if value.size <= _SHOWN else _kind(value)
    if is_tensor(value):
        value = value.detach()
        if value.numel() > _SHOWN:
            return _kind(value)
        return _numbers(value.tolist()) if value.ndim else _number(value.item())
    if isinstance(value, float):
        return _number(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = [f for f in dataclasses.fields(value) if getattr(value, f.name) is not f.default]
        parts = [f"{f.name}={shown(getattr(value, f.name))}" for f in told]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [f"{n}={shown(v)}" for n, v in zip(value._fields, value, strict=True)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, list | tuple):
        inner = ", ".join(shown(item) for item in value[:_SHOWN])
        more = ", ..." if len(value) > _SHOWN else ""
        return f"[{inner}{more}]" if isinstance(value, list) else f"({inner}{more})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {shown(v)}" for k, v in list(value.items())[:_SHOWN]) + "}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def _leaves(yours: Any, expected: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Pairs of what can be compared at once; a pair of different containers is one leaf."""
    if dataclasses.is_dataclass(expected) and type(yours) is type(expected):
        for field in dataclasses.fields(expected):
            name = field.name
            yield from _leaves(getattr(yours, name), getattr(expected, name), f"{where}.{name}")
    elif (
        isinstance(expected, Mapping)
        and isinstance(yours, Mapping)
        and yours.keys() == expected.keys()
    ):
        for key in expected:
            yield from _leaves(yours[key], expected[key], f"{where}[{key!r}]")
    elif (
        isinstance(expected, list | tuple)
        and isinstance(yours, list | tuple)
        and isinstance(yours, list) == isinstance(expected, list)
        and len(yours) == len(expected)
    ):
        # Lists of plain things are one leaf: the place of the first difference is found in them.
        names = getattr(expected, "_fields", None)
        for index, pair in enumerate(zip(yours, expected, strict=True)):
            place = f".{names[index]}" if names else f"[{index}]"
            yield from _leaves(*pair, where + place)
    else:
        yield where, yours, expected


def _compare_leaf(
    where: str, yours: Any, expected: Any, tolerance: float | None
) -> tuple[float, Difference | None]:
    if is_tensor(expected):
        return _compare_tensors(where, yours, expected, tolerance)
    if is_array(expected):
        if not is_array(yours) or yours.shape != expected.shape or yours.dtype != expected.dtype:
            return math.inf, Difference(where, _kind(yours), _kind(expected))
        return _compare_tensors(where, as_tensor(yours), as_tensor(expected), tolerance)
    if isinstance(expected, float) and _is_number(yours):
        if yours == expected or (math.isnan(yours) and math.isnan(expected)):
            return 0.0, None
        finite = math.isfinite(yours) and math.isfinite(expected) and expected != 0.0
        relative = abs(yours - expected) / abs(expected) if finite else math.inf
        if relative <= (1e-9 if tolerance is None else tolerance):
            return relative, None
        return relative, Difference(where, shown(yours), shown(expected), relative)
    if type(yours) is type(expected) and yours == expected:
        return 0.0, None
    return math.inf, Difference(where, _told(yours), _told(expected))


def _compare_tensors(
    where: str, yours: Any, expected: Any, tolerance: float | None
) -> tuple[float, Difference | None]:
    import torch

    if not is_tensor(yours) or yours.shape != expected.shape or yours.dtype != expected.dtype:
        return math.inf, Difference(where, _kind(yours), _kind(expected))
    if yours.equal(expected):
        return 0.0, None  # the usual end, at once
    if not expected.dtype.is_floating_point:
        wrong = yours != expected
        if not bool(wrong.any()):
            return 0.0, None
        return math.inf, _at(where, yours, expected, wrong.nonzero()[0].tolist(), math.inf)
    mine, right = yours.detach().double(), expected.detach().double()
    same = (mine == right) | (mine.isnan() & right.isnan())
    finite = right[right.isfinite()]
    size = float(finite.square().mean().sqrt()) if finite.numel() else 0.0
    gap = torch.where(same, 0.0, (mine - right).abs()).nan_to_num(math.inf, math.inf)
    worst = float(gap.max()) if gap.numel() else 0.0
    # Where zeros alone are expected nothing else will do.
    relative = 0.0 if worst == 0.0 else worst / size if size > 0.0 else math.inf
    allowed = (
        _TOLERANCES[str(expected.dtype).removeprefix("torch.")] if tolerance is None else tolerance
    )
    if relative <= allowed:
        return relative, None
    place = (gap > allowed * size).nonzero()[0].tolist()
    return relative, _at(where, yours, expected, place, relative)


def _at(where: str, yours: Any, expected: Any, place: list[int], relative: float) -> Difference:
    """The difference at a tensor's first wrong element, its whole last row shown where short."""
    if expected.numel() <= _SHOWN:
        mine, right = shown(yours), shown(expected)
    else:
        row = tuple(place[:-1])
        mine, right = shown(yours[row][..., :8]), shown(expected[row][..., :8])
    spot = f"{where}{place}" if place else where
    return Difference(spot, mine, right, relative)


def _kind(value: Any) -> str:
    if is_tensor(value):
        return f"{str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if is_array(value):
        return f"NumPy {value.dtype} array of shape {value.shape}"
    if type(value).__module__ == "numpy":
        return f"NumPy {type(value).__name__}"
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def _told(value: Any) -> str:
    return _kind(value) if is_tensor(value) or type(value).__module__ == "numpy" else shown(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return "[" + " ".join(_numbers(item) for item in value) + "]"
    return _number(value)
