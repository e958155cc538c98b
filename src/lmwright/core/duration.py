"""Lengths of time and of training: `3m`, `2000 steps`, `10M tokens`; never a bare number."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core.core_schema import CoreSchema

Unit = Literal["seconds", "steps", "tokens"]

_SECONDS_PER = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MULTIPLIER = {"": 1, "k": 1_000, "M": 1_000_000, "B": 1_000_000_000}
_TIME = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_TIME_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kMB]?)\s*(step|steps|token|tokens)")
_EXPECTED = (
    "write a time (90s, 3m, 1h30m), a number of steps (2000 steps) or of tokens (10M tokens)"
)


@dataclass(frozen=True)
class Duration:
    """An amount of one unit: seconds of wall time, optimiser steps, or training tokens."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Read `90s`, `3m`, `1h30m`, `2000 steps`, `10M tokens`.

        Raises:
            ValueError: if the text is none of these, or not above zero.
        """
        text = text.strip()
        if _TIME.fullmatch(text):
            parts = _TIME_PART.findall(text)
            result = cls(sum(float(n) * _SECONDS_PER[u] for n, u in parts), "seconds")
        elif match := _COUNT.fullmatch(text):
            number, multiplier, unit = match.groups()
            amount = float(number) * _MULTIPLIER[multiplier]
            result = cls(float(int(amount)), "steps" if unit.startswith("step") else "tokens")
        else:
            raise ValueError(f"{text!r} is not a duration; {_EXPECTED}")
        if result.amount <= 0:
            raise ValueError(f"{text!r} is no time at all; {_EXPECTED}")
        return result

    def __str__(self) -> str:
        if self.unit != "seconds":
            return f"{self.amount:.0f} {self.unit}"
        for suffix, size in (("h", 3600.0), ("m", 60.0)):
            if self.amount >= size and self.amount % size == 0:
                return f"{self.amount / size:.0f}{suffix}"
        return f"{round(self.amount, 6):.6f}".rstrip("0").rstrip(".") + "s"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        # Here and not above: what only reads a time need not wait for pydantic.
        from pydantic_core import core_schema

        def validate(value: Any) -> "Duration":
            if isinstance(value, Duration):
                return value
            if isinstance(value, str):
                return cls.parse(value)
            raise ValueError(f"{value!r} has no unit; {_EXPECTED}")

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )
