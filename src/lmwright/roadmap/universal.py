"""Eight answers that are wrong for every part: production's own, damaged on its way out.

A check that takes one of them would take nearly anything: a course's policy-optimisation test is
known to pass an answer of zeros, because its tolerance is larger than the answer.
"""

import contextlib
import dataclasses
import functools
import inspect
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lmwright.roadmap.properties import Subject
from lmwright.roadmap.values import as_tensor, compare, is_array, is_tensor, rebuilt, tensors_in

UNIVERSAL = (
    "zeros",
    "half",
    "sign-flip",
    "transposed",
    "constant",
    "detached",
    "NaN",
    "noise",
)
NOISE = 1e-3
"""Of the root mean square."""


class Damage:
    """One of `UNIVERSAL`, done to all that a part returns.

    Args:
        kind: which.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.changed = False
        """Whether anything has come out otherwise than it was: if never, the kind says nothing of
        the part."""
        self._depth = 0  # a method that calls another would be damaged twice

    def subject(self, production: Subject) -> Subject:
        """The part, its answers damaged; of a class, those of its public methods and properties."""
        if not isinstance(production, type):
            return self._function(production)
        names = [name for name in dir(production) if not name.startswith("_") or name == "__call__"]
        found = {name: inspect.getattr_static(production, name) for name in names}
        owned = {name: item for name, item in found.items() if _is_ours(production, name)}
        members: dict[str, Any] = {
            name: self._function(item) for name, item in owned.items() if inspect.isfunction(item)
        }
        for name, item in owned.items():
            if isinstance(item, property) and item.fget is not None:
                members[name] = property(self._function(item.fget), item.fset)
        return type(production.__name__, (production,), members)

    def of(self, value: Any) -> Any:
        """The value, damaged."""
        if inspect.isgenerator(value):
            return self._items(value)
        if inspect.isasyncgen(value):
            return self._stream(value)
        if inspect.iscoroutine(value):
            return self._awaited(value)
        damaged = self._damaged(value)
        self.changed = self.changed or _differs(damaged, value)
        return damaged

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def damaged(*args: Any, **kwargs: Any) -> Any:
            if self._depth:
                return function(*args, **kwargs)
            before = [(tensor, tensor.detach().clone()) for tensor in tensors_in((args, kwargs))]
            with self._inside():
                result = function(*args, **kwargs)
            answer = self.of(result)
            with torch.no_grad():  # what it wrote into is its answer too
                for tensor, old in before:
                    if tensor.shape == old.shape and _differs(tensor.detach(), old):
                        tensor.copy_(self.of(tensor.detach()))
            return answer

        return damaged

    def _items(self, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self._inside():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield self.of(item)

    async def _stream(self, items: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, None]:
        async with contextlib.aclosing(items):  # whoever leaves this one leaves that one
            async for item in items:
                yield self.of(item)

    async def _awaited(self, value: Coroutine[Any, Any, Any]) -> Any:
        return self.of(await value)

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _damaged(self, value: Any) -> Any:
        if is_tensor(value):
            return _tensor(self.kind, value)
        if is_array(value):
            return _tensor(self.kind, as_tensor(value)).numpy().astype(value.dtype)
        if isinstance(value, list) and len(value) > 1 and self.kind in _ORDER:
            return _ORDER[self.kind](value)
        if isinstance(value, list | tuple | dict | set) or _is_dataclass(value):
            return rebuilt(value, self._damaged)
        if type(value) in _PLAIN:
            return _PLAIN[type(value)][self.kind](value)
        return value


def _is_ours(production: type, name: str) -> bool:
    """Whether a member is written in this package, not in a library that it builds upon."""
    owner = next(c for c in production.__mro__ if name in vars(c))
    return owner.__module__.startswith("lmwright.") or owner.__module__ == production.__module__


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _differs(mine: Any, other: Any) -> bool:
    if compare(mine, other, 0.0)[1] is not None:
        return True
    pairs = zip(tensors_in(mine), tensors_in(other), strict=True)
    return any(a.requires_grad != b.requires_grad for a, b in pairs)


def _tensor(kind: str, x: Tensor) -> Tensor:
    if not x.numel():
        return x
    if kind == "transposed":
        turned = x.transpose(-1, -2).reshape(x.shape) if x.ndim > 1 else x
        return x.flip(0) if x.ndim == 1 else turned
    if kind == "detached":
        return x.detach()
    if x.dtype.is_floating_point:
        return _FLOATING[kind](x)
    if x.dtype == torch.bool:
        return _BOOLEAN[kind](x)
    return x if x.is_complex() else _WHOLE[kind](x)


def _noisy(x: Tensor) -> Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(x.numel()))
    finite = x.detach().float()[x.isfinite()]
    size = float(finite.square().mean().sqrt()) if finite.numel() else 0.0
    return x + (NOISE * size * noise).to(x.dtype)


def _with_first(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A copy whose first element alone is changed."""
    flat = x.flatten().clone()
    flat[0] = change(flat[0])
    return flat.view(x.shape)


def _same(value: Any) -> Any:
    return value


_FLOATING: Mapping[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "half": lambda x: x / 2,
    "sign-flip": lambda x: -x,
    "constant": lambda x: x.mean().expand(x.shape),
    "NaN": lambda x: torch.full_like(x, math.nan),
    "noise": _noisy,
}
_WHOLE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "half": lambda x: x // 2,
    "sign-flip": lambda x: -x,
    "constant": lambda x: torch.full_like(x, x.flatten()[0].item()),
    "NaN": _same,
    "noise": lambda x: _with_first(x, lambda first: first + 1),
}
_BOOLEAN: Mapping[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "half": _same,
    "sign-flip": torch.logical_not,
    "constant": lambda x: torch.full_like(x, x.flatten()[0].item()),
    "NaN": _same,
    "noise": lambda x: _with_first(x, torch.logical_not),
}
_NUMBER: Mapping[str, Callable[[Any], Any]] = {
    "zeros": lambda x: type(x)(0),
    "half": lambda x: x / 2 if isinstance(x, float) else x // 2,
    "sign-flip": lambda x: -x,
    "transposed": _same,
    "constant": lambda x: type(x)(1),
    "detached": _same,
    "NaN": lambda x: math.nan if isinstance(x, float) else x,
    "noise": lambda x: x * (1 + NOISE) if isinstance(x, float) else x + 1,
}
_TRUTH: Mapping[str, Callable[[bool], bool]] = {
    "zeros": lambda x: False,
    "half": _same,
    "sign-flip": lambda x: not x,
    "transposed": _same,
    "constant": lambda x: True,
    "detached": _same,
    "NaN": _same,
    "noise": lambda x: not x,
}
_TEXT: Mapping[str, Callable[[Any], Any]] = {
    "zeros": lambda x: x[:0],
    "half": lambda x: x[: len(x) // 2],
    "sign-flip": lambda x: x.swapcase(),
    "transposed": lambda x: x[::-1],
    "constant": lambda x: x[:1] * len(x),
    "detached": _same,
    "NaN": _same,
    "noise": lambda x: x[:-1],
}
_ORDER: Mapping[str, Callable[[list[Any]], list[Any]]] = {
    "transposed": lambda x: x[::-1],
    "constant": lambda x: x[:1] * len(x),
}
_PLAIN: Mapping[type, Mapping[str, Callable[[Any], Any]]] = {
    float: _NUMBER,
    int: _NUMBER,
    bool: _TRUTH,
    str: _TEXT,
    bytes: _TEXT,
}
