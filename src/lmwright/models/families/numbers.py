"""Numbers of a config.json: whether a field takes them, and those that follow from others."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig


def checked(field: str, place: str, value: Any) -> Any:
    """The value as a number of the field's kind; what is no number's field, or null, as it is.

    Families compute with sizes before the whole config is checked: what is no number, or absurdly
    large, must not reach them.

    Args:
        field: of `TransformerConfig`.
        place: of the value in config.json.
        value: as it is there.

    Raises:
        LmwrightError: naming the place, if it is no number or out of the field's range.
    """
    adapter = _adapter(field)
    if adapter is None or value is None:
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise LmwrightError(f"config.json: {place} is {value!r}: {message}") from error


def head_dim(values: Mapping[str, Any]) -> int:
    """K where a file leaves it out: the width, divided among the heads.

    Args:
        values: fields of `TransformerConfig`.

    Raises:
        LmwrightError: if they do not divide it.
    """
    width, heads = values["hidden_size"], values["num_attention_heads"]
    if width % heads:
        raise LmwrightError(f"config.json: {heads} heads do not divide a hidden size of {width}")
    size: int = width // heads
    return size


@cache
def _adapter(field: str) -> TypeAdapter[Any] | None:
    """What checks the field; None: it holds no single number."""
    info = TransformerConfig.model_fields.get(field)
    if info is None:
        return None  # a key that the family's `settle_read` makes a field of
    kinds = {*(get_args(info.annotation) or (info.annotation,))} - {type(None)}
    if kinds not in ({int}, {float}) or not info.metadata:
        return None  # ids of tokens have no limits
    limited: Any = Annotated[(info.annotation, *info.metadata)]
    return TypeAdapter(limited, config=ConfigDict(allow_inf_nan=False))
