"""Files of weights in a model folder: safetensors and old pickles, one file or shards."""

import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, write_text

WEIGHTS = "model.safetensors"
PICKLE = "pytorch_model.bin"
MAX_SHARD_BYTES = 5_000_000_000
"""What transformers and the hub take for the largest convenient file."""

_ZIP = b"PK\x03\x04"
_AGAIN = "copy or download it again"


class Published(NamedTuple):
    """A model as a published folder would hold it, wherever it was read from."""

    values: dict[str, Any]
    """Content of config.json."""
    weights: dict[str, Tensor]
    """Under the names that the family publishes."""


def has_weights(folder: Path) -> bool:
    """Whether `read_weights` would find files in `folder`."""
    return any(_index(folder, name).is_file() or (folder / name).is_file() for name in _NAMES)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder under their published names, from one file or from shards.

    Safetensors go before `pytorch_model.bin`, which is opened with `weights_only=True`: it may hold
    tensors and nothing that runs. Both stay on disk, mapped into memory, until they are used.

    Args:
        folder: a model folder.

    Returns:
        Name -> tensor on the CPU, in the dtype of the file.

    Raises:
        LmwrightError: if there are none, a shard is missing, a file is truncated, or a pickle
            holds something else.
    """
    for name in _NAMES:
        index = _index(folder, name)
        if index.is_file():
            return _read_shards(folder, index)
        if (folder / name).is_file():
            return _read_file(folder / name)
    raise LmwrightError(
        f"{folder} holds no weights: neither {' nor '.join(_NAMES)}, nor an index of shards",
        hint="weights in other formats (.pt, .msgpack, .h5) are not read",
    )


def write_weights(
    folder: Path, weights: Mapping[str, Tensor], *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write safetensors as transformers does: one file, or shards and their index.

    Args:
        folder: exists; holds no weights yet.
        weights: name -> tensor, written in the dtype it has; of two names for the same memory
            (tied weights) the first one is written.
        max_shard_bytes: largest sum of the tensors in a file; one that is larger is a file alone.
    """
    from huggingface_hub import split_state_dict_into_shards_factory

    once = _once(weights)
    split = split_state_dict_into_shards_factory(
        once,
        get_storage_size=lambda weight: weight.numel() * weight.element_size(),
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_bytes,
    )
    for file, names in split.filename_to_tensors.items():
        # One shard at a time: a model of another device or layout is never held twice.
        shard = {name: _alone(once[name]) for name in names}
        (folder / file).touch()
        mode = (folder / file).stat().st_mode
        save_file(shard, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(mode)  # safetensors lets only the owner read what it writes
    if split.is_sharded:
        parameters = sum(weight.numel() for weight in once.values())
        index = {
            "metadata": {"total_parameters": parameters, **split.metadata},
            "weight_map": split.tensor_to_filename,
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        write_text(folder / f"{WEIGHTS}.index.json", text)


def _index(folder: Path, name: str) -> Path:
    return folder / f"{name}.index.json"


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    content = read_json(index)
    places: Any = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise LmwrightError(f"{index} has no weight_map")
    weights: dict[str, Tensor] = {}
    for file in sorted({str(file) for file in places.values()}):
        if Path(file).name != file:
            raise LmwrightError(f"{index} names {file}, which is not a file of the same folder")
        if not (folder / file).is_file():
            raise LmwrightError(f"{folder}: {index.name} names {file}, which is missing")
        weights |= _read_file(folder / file)
    absent = next((name for name in places if name not in weights), None)
    if absent is not None:
        raise LmwrightError(
            f"{folder}: {index.name} says that {places[absent]} holds {absent}, which it does not",
            hint="the index and the shards are of two models; " + _AGAIN,
        )
    return weights


def _read_file(path: Path) -> dict[str, Tensor]:
    return _read_pickle(path) if path.suffix == ".bin" else _read_safetensors(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise LmwrightError(f"{path} is truncated or corrupt: {error}", hint=_AGAIN) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    with open(path, "rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    try:
        # Files written before torch 1.6 are no archives, and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # A cut name reads like a foreign one, so that the two cannot be told apart.
        raise _not_only_tensors(path, " or is damaged") from error
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, struct.error) as error:
        raise LmwrightError(f"{path} is truncated or corrupt", hint=_AGAIN) from error
    if not isinstance(content, dict):
        raise _not_only_tensors(path)
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise _not_only_tensors(path)
    return content


def _not_only_tensors(path: Path, otherwise: str = "") -> LmwrightError:
    return LmwrightError(
        f"{path} holds more than named tensors{otherwise}; a pickle can run code, so nothing in "
        "it was run",
        hint="ask its publisher for safetensors, or, if you trust it, save its state_dict() alone",
    )


def _alone(weight: Tensor) -> Tensor:
    """The weight on the CPU in memory of its own: parts of a larger tensor are copied out."""
    weight = weight.detach().contiguous().cpu()
    whole = weight.untyped_storage().nbytes() == weight.numel() * weight.element_size()
    return weight if whole else weight.clone()


def _once(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without second names for the same memory."""
    seen: set[tuple[Any, ...]] = set()
    kept: dict[str, Tensor] = {}
    for name, weight in weights.items():
        place = (weight.device, weight.data_ptr(), weight.dtype, weight.shape, weight.stride())
        if weight.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = weight
    return kept


_NAMES = (WEIGHTS, PICKLE)
