"""Models in and out: folders in the field's layout, and the files of other programs."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, replaced_folder, write_json
from lmwright.models import families, llama2c, sentence_folder
from lmwright.models.assembly import assemble, published_weights
from lmwright.models.classic_config import MODEL_TYPES
from lmwright.models.config import Task, TransformerConfig
from lmwright.models.foreign import Foreign
from lmwright.models.foreign_exchange import load_foreign, save_foreign
from lmwright.models.gguf import reader as gguf
from lmwright.models.gguf.container import MAGIC
from lmwright.models.hub import locate
from lmwright.models.weights_files import MAX_SHARD_BYTES, Published, write_weights
from lmwright.models.weights_files import read_weights as read_weights  # others read them here

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "encoder.json",
    "vocab.bpe",
)


_GENERATION = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


class SavesItself(Protocol):
    """A tokenizer object: it writes its own files."""

    def save(self, folder: Path) -> object:
        """Write the tokenizer's files into `folder`."""
        ...


def load(
    name: str | Path,
    *,
    dtype: torch.dtype | None = None,
    task: Task | None = None,
    implementation: Literal["lmwright", "transformers"] = "lmwright",
    revision: str | None = None,
) -> Any:
    """Open a model folder, a file of another program, or a model of the hub by its id.

    Args:
        name: folder with config.json and weights (safetensors, or an old `pytorch_model.bin`; one
            file or shards), a .gguf file, a llama2.c checkpoint; where there is none, an id such as
            `Qwen/Qwen3-0.6B` (see `hub.locate`).
        dtype: of the weights in memory; None: as stored (float32 for what is quantised).
        task: what it is wanted for; None: what it was published for. A head that the weights lack
            is drawn fresh (seed 0), and one that is not wanted is left out.
        implementation: `transformers` opens families that we lack (see `foreign.Foreign`).
        revision: branch, tag or commit of a model on the hub.

    Returns:
        The model (see `build.build` for its class), in evaluation mode, its weights equal to the
        file's (converted to `dtype`).

    Raises:
        LmwrightError: if there is no such model, its family is unknown, a file is missing,
            truncated or quantised, or weights are missing, left over or of another shape.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise LmwrightError(
            f"weights cannot be held in {dtype}", hint="use torch.float32 or bfloat16"
        )
    path = locate(name, revision=revision)
    weights: dict[str, Tensor] | None = None
    if path.is_dir():
        values = read_config_json(path)
    elif implementation == "transformers":
        raise LmwrightError(f"{path} is a file; transformers opens folders")
    else:
        values, weights = _read_file(path, dtype)
    if values.get("model_type") in MODEL_TYPES:
        from lmwright.models.folders import load_classic  # it makes folders by this module

        return load_classic(path, dtype=dtype)
    if "quantization_config" in values:
        raise LmwrightError(
            f"{path} holds quantised weights",
            hint="open it with lmwright.compression.load, or give the model it was made from",
        )
    if implementation == "transformers":
        return load_foreign(path, values, dtype=dtype, task=task)
    if path.is_dir():
        values = sentence_folder.with_head(path, values, task)
    config = config_from(values, path, task)
    usual = families.find(values).task_of(values)
    if weights is None:
        weights = read_weights(path)
    return assemble(
        config,
        weights,
        path,
        dtype=dtype,
        new_head=config.task != usual,
        published_for=usual,
    )


def save(
    model: nn.Module,
    folder: str | Path,
    *,
    tokenizer: str | Path | SavesItself | None = None,
    eos_token_id: int | Iterable[int] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a folder that `load` and transformers open with equal logits; whole or not at all.

    Args:
        model: its weights are written in the dtype they have.
        folder: replaced if it is empty or a model folder.
        tokenizer: folder whose tokenizer files are copied beside the weights, or an object with
            `save(folder)`.
        eos_token_id: what ends a generation; None: the config's.
        max_shard_bytes: of one file of weights; more is written as shards.

    Raises:
        LmwrightError: if `folder` holds something else, or cannot be written.
    """
    if isinstance(model, Foreign):
        with new_folder(Path(folder), tokenizer) as temporary:
            save_foreign(model, temporary, eos_token_id, max_shard_bytes=max_shard_bytes)
        return
    config = model.config
    if not isinstance(config, TransformerConfig):
        from lmwright.models.folders import save_classic

        save_classic(cast(Any, model), folder, tokenizer=tokenizer)
        return
    write_folder(
        config,
        published_weights(model),
        folder,
        tokenizer=tokenizer,
        eos_token_id=eos_token_id,
        max_shard_bytes=max_shard_bytes,
    )


def write_folder(
    config: TransformerConfig,
    weights: Mapping[str, Tensor],
    folder: str | Path,
    *,
    tokenizer: str | Path | SavesItself | None = None,
    eos_token_id: int | Iterable[int] | None = None,
    extra: Mapping[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """`save` for weights under their published names, with `extra` keys in config.json."""
    if eos_token_id is not None:
        eos = eos_token_id if isinstance(eos_token_id, int) else tuple(eos_token_id)
        config = config.model_copy(update={"eos_token_id": eos})
    values = config.to_hf() | {"torch_dtype": _common_dtype(weights)} | dict(extra or {})
    generation = {name: values[name] for name in _GENERATION if name in values}
    with new_folder(Path(folder), tokenizer) as temporary:
        write_json(temporary / "config.json", values)
        write_json(temporary / "generation_config.json", generation)
        write_weights(temporary, weights, max_shard_bytes=max_shard_bytes)
        sentence_folder.write(config, temporary)


def check_replaceable(folder: Path) -> None:
    """Refuse to write a model where something else lies.

    Raises:
        LmwrightError: if `folder` is a file, the current folder or one around it, or holds files
            and is no model folder.
    """
    if folder.name in ("", ".."):
        raise LmwrightError(
            f"{folder} would be replaced as a whole, with you in it",
            hint="name a new folder",
        )
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise LmwrightError(
            f"{there} is a file; it will not be overwritten",
            hint="choose a new or empty folder",
        )
    if folder.is_dir() and any(folder.iterdir()) and not _holds_model(folder):
        raise LmwrightError(
            f"{folder} holds files that are not a model; it will not be overwritten",
            hint="choose a new or empty folder",
        )


def _holds_model(folder: Path) -> bool:
    """Whether config.json names a family: other programs' files are called config.json too."""
    try:
        return "model_type" in read_config_json(folder)
    except LmwrightError:
        return False


@contextlib.contextmanager
def new_folder(folder: Path, tokenizer: str | Path | SavesItself | None) -> Iterator[Path]:
    """A folder that takes the place of `folder` when the block, and the tokenizer, succeed."""
    check_replaceable(folder)
    with replaced_folder(folder) as temporary:
        yield temporary
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
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        # A family computes with what the file says: null, a text or 0 in a number's place.
        raise LmwrightError(
            f"{folder / 'config.json'} holds a value of a kind or size that no "
            f"{values.get('model_type')} has: {error}",
            hint="compare it with the published one of the same family",
        ) from error


def _read_file(path: Path, dtype: torch.dtype | None) -> Published:
    """A model in one file, by how it begins."""
    with open(path, "rb") as file:
        begins = file.read(len(MAGIC))
    if begins == MAGIC or path.suffix == ".gguf":
        return gguf.read(path, dtype=dtype)
    if path.suffix == ".safetensors" or (path.parent / "config.json").is_file():
        raise LmwrightError(
            f"{path} is one file of a model, which is config.json and weights",
            hint=f"give the folder of both: {path.parent}",
        )
    return llama2c.read(path, dtype=dtype)


def _common_dtype(weights: Mapping[str, Tensor]) -> str:
    """The dtype that most floating-point values have, by transformers' name."""
    sizes: dict[str, int] = {}
    for weight in weights.values():
        if weight.is_floating_point():
            name = str(weight.dtype).removeprefix("torch.")
            sizes[name] = sizes.get(name, 0) + weight.numel()
    return max(sizes, key=lambda name: sizes[name])
