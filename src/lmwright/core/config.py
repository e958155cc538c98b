"""The base of every configuration: frozen, strict about keys, documented under each field."""

import difflib

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """A frozen pydantic model; unknown keys are errors, docstrings under fields describe them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )


def first_problem(error: ValidationError, config: type[Config]) -> str:
    """What is wrong first with the fields given for `config`, in one line.

    Args:
        error: pydantic's.
        config: what was to be made.
    """
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place, config.model_fields, n=1)
        return f"{place} is not a field" + (f"; did you mean {near[0]}?" if near else "")
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
