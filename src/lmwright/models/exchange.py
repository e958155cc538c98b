"""Model folders in the field's layout: config.json, safetensors, generation_config.json."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, replaced_folder, write_json
from lmwright.models import families
from lmwright.models.assembly import assemble, published_weights
from lmwright.models.config import Task, TransformerConfig
from lmwright.models.hub import locate

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class SavesItself(Protocol):
    """A tokenizer object: it writes its own files."""

    def save(self, folder: Path) -> object:
        """Write the tokenizer's files into `folder`."""
        ...


def load(
    folder_or_id: str | Path, *, dtype: torch.dtype | None = None, task: Task | None = None
) -> Any:
    """Open a model folder, or a model of the hub by its id.

    Args:
        folder_or_id: folder with config.json and safetensors (one file or shards); where there is
            no such folder, an id such as `Qwen/Qwen3-0.6B`.
        dtype: of the weights in memory; None: as stored.
        task: what it is wanted for; None: what it was published for. A head that the weights lack
            is drawn fresh (seed 0), and one that is not wanted is left out.

    Returns:
        The model (see `build.build` for its class), in evaluation mode, its weights equal to the
        file's (converted to `dtype`).

    Raises:
        LmwrightError: if there is no such model, its family is unknown, a file is missing,
            truncated or quantised, or weights are missing, left over or of another shape.
    """
    folder = locate(folder_or_id)
    values = read_config_json(folder)
    if "quantization_config" in values:
        raise LmwrightError(
            f"{folder} holds quantised weights",
            hint="open it with lmwright.compression.load, or give the model it was made from",
        )
    config = config_from(values, folder, task)
    changed = task is not None and task != families.find(values).task_of(values)
    return assemble(config, read_weights(folder), folder, dtype=dtype, new_head=changed)


def save(
    model: nn.Module,
    folder: str | Path,
    *,
    tokenizer: str | Path | SavesItself | None = None,
    eos_token_id: int | Iterable[int] | None = None,
) -> None:
    """Write a folder that `load` and transformers open with equal logits; whole or not at all.

    Args:
        model: its weights are written in the dtype they have.
        folder: replaced if it is empty or a model folder.
        tokenizer: folder whose tokenizer files are copied beside the weights, or an object with
            `save(folder)`.
        eos_token_id: what ends a generation; None: the config's.

    Raises:
        LmwrightError: if `folder` holds something else, or cannot be written.
    """
    config = model.config
    assert isinstance(config, TransformerConfig)
    weights = published_weights(model)
    write_folder(config, weights, folder, tokenizer=tokenizer, eos_token_id=eos_token_id)


def write_folder(
    config: TransformerConfig,
    weights: Mapping[str, Tensor],
    folder: str | Path,
    *,
    tokenizer: str | Path | SavesItself | None = None,
    eos_token_id: int | Iterable[int] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """`save` for weights under their published names, with `extra` keys in config.json."""
    target = Path(folder)
    if target.is_dir() and any(target.iterdir()) and not (target / "config.json").exists():
        raise LmwrightError(
            f"{target} holds files that are not a model; it will not be overwritten",
            hint="choose a new or empty folder",
        )
    if eos_token_id is not None:
        eos = eos_token_id if isinstance(eos_token_id, int) else tuple(eos_token_id)
        config = config.model_copy(update={"eos_token_id": eos})
    values = config.to_hf() | {"torch_dtype": _common_dtype(weights)} | dict(extra or {})
    generation = {name: values[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with replaced_folder(target) as temporary:
        write_json(temporary / "config.json", values)
        write_json(temporary / "generation_config.json", generation)
        contiguous = {name: weight.detach().contiguous().cpu() for name, weight in weights.items()}
        save_file(contiguous, temporary / _WEIGHTS, metadata={"format": "pt"})
        if isinstance(tokenizer, (str, Path)):
            copy_tokenizer(Path(tokenizer), temporary)
        elif tokenizer is not None:
            tokenizer.save(temporary)


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer's files lie in `folder`."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files between model folders.

    Raises:
        LmwrightError: if `source` has none.
    """
    if not has_tokenizer(source):
        raise LmwrightError(f"{source} holds no tokenizer files (tokenizer.json)")
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def read_config_json(folder: Path) -> dict[str, Any]:
    """The content of the folder's config.json.

    Raises:
        LmwrightError: if it is missing, not JSON or not an object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise LmwrightError(f"{folder} is not a model folder: it has no config.json")
    values = read_json(path)
    if not isinstance(values, dict):
        raise LmwrightError(f"{path} is not a JSON object")
    return values


def config_from(
    values: Mapping[str, Any], folder: Path, task: Task | None = None
) -> TransformerConfig:
    """`TransformerConfig.from_hf` with errors that name the folder."""
    try:
        return TransformerConfig.from_hf(values, task)
    except LmwrightError as error:
        raise LmwrightError(f"{folder}: {error.what}", hint=error.hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = f"{place}: {first['msg']}" if place else first["msg"]
        raise LmwrightError(f"{folder / 'config.json'}: {message}") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder under their published names, from one file or from shards.

    Raises:
        LmwrightError: if there are none, a shard is missing, or a file is truncated.
    """
    if (folder / _INDEX).is_file():
        index = read_json(folder / _INDEX)
        if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
            raise LmwrightError(f"{folder / _INDEX} has no weight_map")
        files = sorted({str(file) for file in index["weight_map"].values()})
    elif (folder / _WEIGHTS).is_file():
        files = [_WEIGHTS]
    else:
        raise LmwrightError(
            f"{folder} holds no weights: neither {_WEIGHTS} nor {_INDEX}",
            hint="weights in other formats (.bin, .pt) are not read",
        )
    weights: dict[str, Tensor] = {}
    for file in files:
        path = folder / file
        if not path.is_file():
            raise LmwrightError(f"{folder}: {_INDEX} names {file}, which is missing")
        try:
            weights |= load_file(path)
        except SafetensorError as error:
            raise LmwrightError(
                f"{path} is truncated or corrupt: {error}", hint="copy or download it again"
            ) from error
    return weights


def _common_dtype(weights: Mapping[str, Tensor]) -> str:
    """The dtype that most floating-point values have, by transformers' name."""
    sizes: dict[str, int] = {}
    for weight in weights.values():
        if weight.is_floating_point():
            name = str(weight.dtype).removeprefix("torch.")
            sizes[name] = sizes.get(name, 0) + weight.numel()
    return max(sizes, key=lambda name: sizes[name])
