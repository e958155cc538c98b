"""Folders of families that we lack, opened and written by `transformers`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, write_json
from lmwright.models.config import Task
from lmwright.models.foreign import Foreign

_CLASSES: dict[Task, tuple[str, str]] = {
    "causal_lm": ("AutoModelForCausalLM", "CAUSAL_LM"),
    "masked_lm": ("AutoModelForMaskedLM", "MASKED_LM"),
    "sequence_to_sequence": ("AutoModelForSeq2SeqLM", "SEQ_TO_SEQ_CAUSAL_LM"),
    "sequence_classification": ("AutoModelForSequenceClassification", "SEQUENCE_CLASSIFICATION"),
    "token_classification": ("AutoModelForTokenClassification", "TOKEN_CLASSIFICATION"),
    "span_qa": ("AutoModelForQuestionAnswering", "QUESTION_ANSWERING"),
}
"""Task -> transformers' class that opens it, and its name in the table of such classes."""


def load_foreign(
    folder: Path,
    values: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
    task: Task | None = None,
) -> Foreign:
    """Open a folder with `transformers`; code that lies in the folder is never run.

    Args:
        folder: a model folder.
        values: content of its config.json.
        dtype: of the weights in memory; None: as stored.
        task: what it is wanted for; None: what `architectures` says. A head that the weights lack
            is drawn fresh (seed 0).

    Raises:
        LmwrightError: if `transformers` is not installed or cannot open it, or weights are
            missing or left over.
    """
    transformers = _library()
    wanted = task or _task_of(folder, values)
    if wanted not in _CLASSES:
        raise LmwrightError(f"a model of transformers cannot be opened for {wanted}")
    opener = getattr(transformers, _CLASSES[wanted][0])
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, report = opener.from_pretrained(
                folder,
                dtype=dtype or "auto",
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (ValueError, OSError, LookupError, RuntimeError, ImportError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LmwrightError(f"transformers cannot open {folder}: {lines[0]}") from error
    _check_report(folder, model, report, strict=task is None)
    return Foreign(model, wanted).eval()


def save_foreign(
    model: Foreign,
    folder: Path,
    eos_token_id: int | Iterable[int] | None = None,
    *,
    max_shard_bytes: int,
) -> None:
    """Write the wrapped model's config and weights into `folder`, which exists.

    Args:
        model: what `load_foreign` opens again, as `transformers` does.
        folder: empty.
        eos_token_id: what ends a generation; None: the config's.
        max_shard_bytes: of one file of weights.
    """
    wrapped: Any = model.model
    wrapped.save_pretrained(folder, max_shard_size=max_shard_bytes)
    for file in folder.glob("*.safetensors"):  # written for their owner alone
        file.chmod((folder / "config.json").stat().st_mode)
    if eos_token_id is None:
        return
    ends = eos_token_id if isinstance(eos_token_id, int) else list(eos_token_id)
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            write_json(folder / name, read_json(folder / name) | {"eos_token_id": ends})


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise LmwrightError(
            "`implementation: transformers` needs the package transformers",
            hint="install it with: pip install 'lmwright[foreign]'",
        ) from error
    return transformers


def _task_of(folder: Path, values: Mapping[str, Any]) -> Task:
    """The task whose table of transformers holds the class that `architectures` names."""
    from transformers.models.auto import modeling_auto

    published = list(values.get("architectures") or ())
    for task, (_, table) in _CLASSES.items():
        classes = getattr(modeling_auto, f"MODEL_FOR_{table}_MAPPING_NAMES").values()
        if any(name in classes for name in published):
            return task
    raise LmwrightError(
        f"{folder / 'config.json'}: architectures {published} does not say what the model is for",
        hint=f"say it with task: one of {', '.join(_CLASSES)}",
    )


def _check_report(folder: Path, model: Any, report: Mapping[str, Any], *, strict: bool) -> None:
    stack = f"{model.base_model_prefix}."
    missing = [n for n in report["missing_keys"] if strict or n.startswith(stack)]
    extra = list(report["unexpected_keys"]) if strict else []
    for kind, names in (("missing weights", missing), ("weights without a place", extra)):
        if names:
            listed = ", ".join(sorted(names)[:5])
            raise LmwrightError(f"{folder} does not hold the model it describes; {kind}: {listed}")
