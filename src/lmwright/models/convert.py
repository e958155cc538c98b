"""From any format that is read, and from family to family, to a folder that proves itself."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.core.files import replaced_folder
from lmwright.models import exchange, families, hub
from lmwright.models.config import TransformerConfig
from lmwright.models.gguf import vocabulary

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", re.IGNORECASE)
_GENERATION = "generation_config.json"
_PROVED = 12  # positions on which the two models are compared


def convert(
    source: str,
    target: Path,
    *,
    to: str | None = None,
    dtype: str | None = None,
    max_shard_size: str = "5GB",
    revision: str | None = None,
    tokenizer: Path | None = None,
    note: Callable[[str], object] = print,
) -> None:
    """Write a model as a folder that `transformers` opens too.

    The folder appears only once it was opened again and gave the same logits to the bit.

    Args:
        source: whatever `models.load` opens: a folder, a .gguf file, a llama2.c checkpoint, a hub
            id.
        target: the folder; replaced if it is empty or a model folder.
        to: family of the new folder; None: the source's.
        dtype: of the weights, a key of `DTYPES`; None: the source's.
        max_shard_size: of one file, such as `5GB` (10^9 bytes each).
        revision: of a model on the hub.
        tokenizer: folder of its tokenizer; None: the source's own, if it has one.
        note: tells the person one line.

    Raises:
        LmwrightError: if the source cannot be opened, the family cannot express the model, or the
            target holds something else.
    """
    shard = size_in_bytes(max_shard_size)
    if dtype is not None and dtype not in DTYPES:
        raise LmwrightError(f"dtype {dtype} is not one of {', '.join(DTYPES)}")
    if to is not None and to not in families.names():
        raise LmwrightError(
            f"{to} is not a family we have", hint=f"choose one of: {', '.join(families.names())}"
        )
    exchange.check_replaceable(target)
    path = hub.locate(source, revision=revision)
    model = exchange.load(path, dtype=DTYPES[dtype] if dtype else None)
    if not isinstance(model.config, TransformerConfig):
        raise LmwrightError(
            f"{source} is a {model.config.model_type}; only transformers have other formats",
            hint="its folder is lmwright's own: copy it as it is",
        )
    if to is not None:
        model.config = retargeted(model.config, to)
    with replaced_folder(target) as temporary:
        words = tokenizer or _own_tokenizer(path)
        exchange.save(model, temporary, tokenizer=words, max_shard_bytes=shard)
        if (path / _GENERATION).is_file():  # its sampling and its ends, which no model holds
            shutil.copyfile(path / _GENERATION, temporary / _GENERATION)
        _prove(model, temporary)
    weights = sum(p.numel() for p in model.parameters())
    kind = next(model.parameters()).dtype
    note(
        f"{target}: {model.config.model_type}, {weights:,} parameters in "
        f"{str(kind).removeprefix('torch.')}; opened again, its logits are the source's to the bit"
    )


def retargeted(config: TransformerConfig, family: str) -> TransformerConfig:
    """The same model's config as another family's.

    Args:
        config: of the model.
        family: a name from `families.names()`.

    Raises:
        LmwrightError: naming the first field that the family cannot express.
    """
    wanted = config.model_copy(update={"model_type": family})
    try:
        read = TransformerConfig.from_hf(wanted.to_hf())
    except ValidationError as error:
        raise LmwrightError(f"{family} cannot express it: {error.errors()[0]['msg']}") from error
    for name, value in wanted.model_dump().items():
        again = read.model_dump()[name]
        if again != value:
            raise LmwrightError(
                f"{family} cannot express {name} {value!r}: it would be read as {again!r}",
                hint=f"keep {config.model_type}, the family that the model has",
            )
    return wanted


def size_in_bytes(text: str) -> int:
    """The bytes that a size such as `500MB` or `5GB` names, in powers of ten.

    Raises:
        LmwrightError: if it is no size, or 0.
    """
    found = _SIZE.fullmatch(text.strip())
    number, unit = found.groups() if found else ("0", "")
    size = int(float(number) * _UNITS.get(unit.upper(), _UNITS.get(f"{unit.upper()}B", 0)))
    if size < 1:
        raise LmwrightError(f"{text!r} is not a size", hint="write it like 500MB or 5GB")
    return size


def _own_tokenizer(path: Path) -> Path | exchange.SavesItself | None:
    """The tokenizer that came with a model: files to copy, or an object that writes itself."""
    if path.is_dir():
        return path if exchange.has_tokenizer(path) else None
    if path.suffix == ".gguf":
        return vocabulary.tokenizer(path)
    # llama2.c keeps its tokenizer in a file beside the weights.
    return tokens.load(path.parent) if any(path.parent.glob("tok*.bin")) else None


def _prove(model: nn.Module, folder: Path) -> None:
    """Compare a model with the one in a folder, logit by logit, bit by bit."""
    wanted = _logits(model)
    if wanted.isnan().any():
        named = (name for name, weight in model.named_parameters() if weight.isnan().any())
        raise LmwrightError(
            f"the source computes NaN, its weights hold it in: {next(named, 'none')}",
            hint="copy or download it again, or take an earlier checkpoint",
        )
    again = exchange.load(folder)
    if not torch.equal(wanted, _logits(again)):
        raise LmwrightError(
            "the converted model differs from the source; nothing was written",
            hint="this is a fault of lmwright: please report it with the model's config.json",
        )


@torch.no_grad()
def _logits(model: Any) -> Tensor:
    config: TransformerConfig = model.config
    length = min(_PROVED, config.max_position_embeddings)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (2, length), generator=draw)
    if isinstance(config.eos_token_id, int):
        ids[:, -1] = config.eos_token_id  # some classifiers read where the sequence ends
    more = {"decoder_input_ids": ids} if config.task == "sequence_to_sequence" else {}
    found = model(ids, **more) if config.task != "backbone" else model.hidden_states(ids)
    result: Tensor = found if isinstance(found, Tensor) else found.logits
    return result
