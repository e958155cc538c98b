"""What is wrong with a config, in one line."""

import pytest
from pydantic import ValidationError, model_validator

from lmwright.core.config import Config, first_problem


class Shape(Config):
    """A shape."""

    hidden_size: int = 4
    inner: dict[str, int] | None = None

    @model_validator(mode="after")
    def _even(self):
        if self.hidden_size % 2:
            raise ValueError("hidden_size is odd")
        return self


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hiden_size": 3}, "hiden_size is not a field; did you mean hidden_size?"),
        ({"zzz": 3}, "zzz is not a field"),
        ({"hidden_size": 3}, "hidden_size is odd"),
        ({"inner": {"a": "b"}}, "inner.a: Input should be a valid integer"),
    ],
)
def test_the_first_problem_names_its_place(values, said):
    with pytest.raises(ValidationError) as error:
        Shape.model_validate(values)
    assert first_problem(error.value, Shape).startswith(said)
