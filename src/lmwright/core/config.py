"""The base of every configuration: frozen, strict about keys, documented under each field."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen pydantic model; unknown keys are errors, docstrings under fields describe them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )
