"""The folder layout of sentence-transformers (Reimers and Gurevych 2019): which token speaks for a
text, and whether vectors have length 1, in files beside config.json.

`modules.json` lists what a text goes through; `1_Pooling/config.json` says how tokens become one
vector; `sentence_bert_config.json` how many tokens a text may have.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, write_json
from lmwright.models.config import Task, TransformerConfig
from lmwright.models.families import OWN_HEAD

_MODULES = "modules.json"
_LIMITS = "sentence_bert_config.json"
_POOLINGS = {"cls": "first", "mean": "mean", "lasttoken": "last"}
_KNOWN = ("Transformer", "Pooling", "Normalize")


def with_head(folder: Path, values: Mapping[str, Any], task: Task | None) -> dict[str, Any]:
    """The content of config.json, and in it what the folder says of a sentence embedder's head.

    Args:
        folder: perhaps with `modules.json`.
        values: the content of its config.json.
        task: what the model is wanted for; None: what it was published for.

    Raises:
        LmwrightError: if a text goes through something that we lack.
    """
    if not (folder / _MODULES).is_file() or task not in (None, "embedding"):
        return dict(values)
    modules = read_json(folder / _MODULES)
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if tuple(kinds) not in (_KNOWN, _KNOWN[:2]):
        raise LmwrightError(
            f"{folder / _MODULES} sends texts through {', '.join(kinds)}",
            hint=f"supported: {', '.join(_KNOWN[:2])} and perhaps {_KNOWN[2]}, in this order",
        )
    head: dict[str, Any] = {
        "task": "embedding",
        "pooling": _pooling(folder / str(modules[1]["path"]) / "config.json"),
        "normalize": "Normalize" in kinds,
    }
    limits = read_json(folder / _LIMITS) if (folder / _LIMITS).is_file() else {}
    if limits.get("max_seq_length"):
        head["max_length"] = limits["max_seq_length"]
    return {**values, OWN_HEAD: {**values.get(OWN_HEAD, {}), **head}}


def write(config: TransformerConfig, folder: Path) -> None:
    """Add the layout's files to a sentence embedder's folder; to any other, nothing.

    Args:
        config: of the model.
        folder: where its config.json and weights lie.
    """
    head = config.head
    modes = {ours: theirs for theirs, ours in _POOLINGS.items()}
    if head is None or head.task != "embedding" or head.pooling not in modes:
        return
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    kinds = _KNOWN if head.normalize else _KNOWN[:2]
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": places[kind],
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    write_json(folder / _MODULES, modules)
    length = head.max_length or config.max_position_embeddings
    write_json(folder / _LIMITS, {"max_seq_length": length, "do_lower_case": False})
    pooling: dict[str, Any] = {"word_embedding_dimension": config.hidden_size}
    for key, mode in (("cls_token", "cls"), ("mean_tokens", "mean"), ("lasttoken", "lasttoken")):
        pooling[f"pooling_mode_{key}"] = mode == modes[head.pooling]
    write_json(folder / "1_Pooling" / "config.json", pooling)
    if head.normalize:
        write_json(folder / "2_Normalize" / "config.json", {})


def _pooling(file: Path) -> str:
    """Our name of the one way of pooling in the file, said the old way or the new one."""
    content = read_json(file)
    given = content.get("pooling_mode")
    if given is None:
        prefix = "pooling_mode_"
        on = [key.removeprefix(prefix) for key, used in content.items() if used is True]
        given = [name.removesuffix("_token").removesuffix("_tokens") for name in on]
    modes = [given] if isinstance(given, str) else list(given)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise LmwrightError(
            f"{file} pools by {' and '.join(map(str, modes)) or 'nothing'}",
            hint=f"supported: one of {', '.join(_POOLINGS)}",
        )
    return _POOLINGS[modes[0]]
