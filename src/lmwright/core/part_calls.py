"""Counting the calls of a part, also inside what `torch.compile` has made of them."""

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

_CALLS_BY_SYNTAX = ("__call__", "__iter__", "__next__", "__getitem__")
"""Methods that are called without being named: they count as public ones do."""


class Calls:
    """How often one part was called in this process.

    Compiled code must not change a Python number: it would be compiled anew for every value. There
    the count is a tensor of one number, which the graph takes as an input and adds to in place, so
    that what counts is each time the graph runs and not the one time it is traced.
    """

    def __init__(self) -> None:
        self.eager = 0
        self.compiled: Any = None
        torch = sys.modules.get("torch")
        if torch is not None:
            # As it would be anywhere: the module may be imported inside somebody's context.
            with torch.inference_mode(False):
                self.compiled = torch.zeros((), dtype=torch.int64, device="cpu")

    def total(self) -> int:
        """Of both."""
        return self.eager + (0 if self.compiled is None else int(self.compiled.item()))


def counted_function(
    function: Callable[..., Any], calls: Calls, looks_like: Callable[..., Any]
) -> Callable[..., Any]:
    """A function that counts and then does what `function` does.

    Args:
        function: what is called.
        calls: where it counts.
        looks_like: whose name, signature and docstring it shows.
    """
    count = _counter(calls)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(looks_like)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            count()
            return await function(*args, **kwargs)

        return awaited

    @functools.wraps(looks_like)
    def called(*args: Any, **kwargs: Any) -> Any:
        count()
        return function(*args, **kwargs)

    return called


def counted_class(made: type, calls: Calls, looks_like: type) -> type:
    """A subclass that counts calls of the public methods that the class itself defines.

    Inherited ones do not count: of a `torch.nn.Module` they are a hundred that say nothing.

    Args:
        made: the class.
        calls: where it counts.
        looks_like: whose module and name it bears, so that what is pickled finds it again.
    """
    own = [kind for kind in reversed(made.__mro__) if kind.__module__ == made.__module__]
    methods: dict[str, Any] = {}
    for name, value in (item for kind in own for item in vars(kind).items()):
        if name.startswith("_") and name not in _CALLS_BY_SYNTAX:
            continue
        if isinstance(value, types.FunctionType):
            methods[name] = counted_function(value, calls, value)
        elif isinstance(value, (staticmethod, classmethod)):
            inner = value.__func__
            methods[name] = type(value)(counted_function(inner, calls, inner))
    body = {
        "__module__": looks_like.__module__,
        "__qualname__": looks_like.__qualname__,
        "__doc__": made.__doc__,
        **methods,
    }
    return types.new_class(looks_like.__name__, (made,), exec_body=lambda space: space.update(body))


def _counter(calls: Calls) -> Callable[[], None]:
    if calls.compiled is None:

        def count() -> None:
            calls.eager += 1

        return count
    compiled, is_compiling = calls.compiled, sys.modules["torch"].compiler.is_compiling

    def count_either() -> None:
        if is_compiling():
            compiled.add_(1)
        else:
            calls.eager += 1

    return count_either
