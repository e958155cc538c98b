"""What an entry for an architecture consists of, and the checked settings that it reads."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.models.gguf.container import GGUFFile

Array = np.ndarray[Any, np.dtype[Any]]
"""float32, or int8 where a matrix stays quantised."""

_UNDONE = (
    "attention.clamp_kqv",
    "attention.scale",
    "attention.output_scale",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "expert_shared_count",
    "leading_dense_block_count",
    "rope.scale_linear",
)
"""Settings that change what is computed in ways that no entry here undoes."""


class Keys:
    """The settings of a file's architecture, checked."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.name = str(file.metadata["general.architecture"])
        for key in _UNDONE:
            if file.metadata.get(f"{self.name}.{key}"):
                raise LmwrightError(f"{file.path}: {self.name}.{key} is not supported")

    def get(self, key: str, default: Any = None) -> Any:
        """The setting `key`, without the architecture's name before it."""
        return self.file.metadata.get(f"{self.name}.{key}", default)

    def count(self, key: str, default: int | None = None) -> int:
        """A positive whole number; a list of them, one for each block, if they are all equal."""
        value = self.get(key, default)
        if isinstance(value, list) and value and all(one == value[0] for one in value):
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._unusable(key, value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; of those that round to the float32 of the file, the shortest."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._unusable(key, value)
        if not math.isfinite(value):
            raise self._unusable(key, value)
        return float(str(np.float32(value)))

    def rows(self, tensor: str) -> int:
        """The first dimension of a tensor."""
        if tensor not in self.file.tensors:
            raise LmwrightError(f"{self.file.path} holds no tensor {tensor}")
        return self.file.tensors[tensor].shape[0]

    def has(self, tensor: str) -> bool:
        """Whether the file holds a tensor."""
        return tensor in self.file.tensors

    def special_tokens(self) -> dict[str, Any]:
        """Ids by their names in config.json; what ends a turn ends a generation too."""
        found = self.file.metadata.get
        ends = [found(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
        ends = [end for end in dict.fromkeys(ends) if end is not None]
        return {
            "bos_token_id": found("tokenizer.ggml.bos_token_id"),
            "eos_token_id": ends if len(ends) > 1 else next(iter(ends), None),
            "pad_token_id": found("tokenizer.ggml.padding_token_id"),
        }

    def _unusable(self, key: str, value: Any) -> LmwrightError:
        said = "is missing" if value is None else f"is {value!r}"
        return LmwrightError(f"{self.file.path}: {self.name}.{key} {said}")


def _unchanged(part: str, array: Array, keys: Keys) -> Array:
    return array


@dataclass(frozen=True)
class Architecture:
    """How one architecture's file maps to a published family; names without .weight and .bias."""

    model_type: str
    """The family."""
    published_class: str
    """Class by which transformers opens it."""
    whole: Mapping[str, str]
    """Tensors outside the blocks: name in the file -> published name."""
    blocks: str
    """Published prefix of a block, before its number."""
    block: Mapping[str, str]
    """Tensors of a block; `{expert}` where the file stacks the experts' matrices."""
    settings: Callable[[Keys], dict[str, Any]]
    """Content of config.json."""
    change: Callable[[str, Array, Keys], Array] = _unchanged
    """Undoes the rearrangement of a tensor, given its name within its block."""
    used_up: tuple[str, ...] = ()
    """Tensors that the settings have taken in."""
