"""Names of activations in published config.json files and ours."""

from lmwright.core.errors import LmwrightError
from lmwright.models.config import Activation

_OURS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


def ours(name: str) -> Activation:
    """Our name of a published activation.

    Raises:
        LmwrightError: if our blocks lack it.
    """
    if name not in _OURS:
        raise LmwrightError(
            f"config.json: activation {name!r} is not supported",
            hint=f"supported: {', '.join(_OURS)}",
        )
    return _OURS[name]


def published(name: Activation) -> str:
    """The first published name of one of ours.

    Raises:
        LmwrightError: if it has none, being one family's own.
    """
    for theirs, own in _OURS.items():
        if own == name:
            return theirs
    raise LmwrightError(
        f"config.json cannot express activation {name!r}", hint="keep the family that the model has"
    )
