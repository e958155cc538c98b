"""What every object of the protocol is made of: strict JSON types, and complaints with names."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError


class Wire(BaseModel):
    """A frozen part of the protocol: JSON's own types, no conversion, no unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def without_neutral(body: Any, neutral: Mapping[str, tuple[JsonValue, ...]]) -> Any:
    """Drop known unsupported fields that ask for nothing; refuse those that ask for something."""
    if not isinstance(body, dict):
        return body
    for name in neutral.keys() & body.keys():
        value = body[name]
        if value is not None and not any(_same(value, allowed) for allowed in neutral[name]):
            raise PydanticCustomError(
                "unsupported", "this server does not support this field", {"field": name}
            )
    return {name: value for name, value in body.items() if name not in neutral}


def refuse_beside(field: str, why: str) -> PydanticCustomError:
    """The complaint about a field that does not go with the others."""
    return PydanticCustomError("beside", "{why}", {"field": field, "why": why})


def one_of(expected: str) -> WrapValidator:
    """One complaint about a union in place of one for each of its members."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            if any(part["type"] == "unicode" for part in error.errors()):
                raise PydanticCustomError("unicode", "holds half of a surrogate pair") from None
            raise PydanticCustomError(
                "one_of", "must be {expected}", {"expected": expected}
            ) from None

    return WrapValidator(validate)


def _same(value: JsonValue, allowed: JsonValue) -> bool:
    # Python's True == 1 is not JSON's.
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)


def _unicode(text: str) -> str:
    # JSON can spell half a surrogate pair, which no encoding and no tokenizer can carry.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise PydanticCustomError("unicode", "holds half of a surrogate pair") from None
    return text


def json_text(value: JsonValue) -> str:
    """A JSON value as text.

    Raises:
        ValueError: if it holds NaN or an infinity.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _plain_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        _unicode(json_text(value))
    except ValueError:
        # Python's parser takes NaN and Infinity, which JSON does not have.
        raise PydanticCustomError("json_number", "holds a number that JSON lacks") from None
    return value


Text = Annotated[str, AfterValidator(_unicode)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_plain_json)]
