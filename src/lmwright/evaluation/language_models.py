"""Language models of any kind, trained in one run, beside each other on the same held-out text."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lmwright import models, tokens
from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json
from lmwright.evaluation.commands import LanguageModelsConfig
from lmwright.evaluation.likelihood import BitsPerByte, bits_per_byte, read_texts
from lmwright.models import accounting
from lmwright.tokens.packing import pack
from lmwright.tokens.steps import encode_texts
from lmwright.training.pretraining import objective_for
from lmwright.training.validation import ValidationLoss

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

_LEARNS = {
    "causal_lm": "next token",
    "masked_lm": "hidden tokens",
    "sequence_to_sequence": "cut-out pieces",
}


@dataclass(frozen=True)
class Found:
    """What one model showed.

    Args:
        family: of its folder.
        learns: what its loss is about.
        parameters, active: all, and those that take part in a token.
        loss: nats per trained token of the validation rows.
        bits: per byte of the validation text; None where the model gives no text a probability.
        agreement: how far transformers' logits of the same folder are, relative to their size;
            None where it was not asked or cannot open the family.
    """

    family: str
    learns: str
    parameters: int
    active: int
    loss: float
    bits: BitsPerByte | None
    agreement: float | None


def compare(
    config: LanguageModelsConfig,
    run: "StepRun",
    *,
    corpus: Path,
    **trained: Path | None,
) -> None:
    """Measure every model of the recipe on the corpus's validation text; write evaluation.json.

    Args:
        config: how much text, and whether transformers is asked too.
        run: the step's run; gets a table, samples and the summary.
        corpus: its validation text.
        trained: models' folders by the names of their steps, each with its tokenizer.

    Raises:
        LmwrightError: if there is no model, or no text.
    """
    folders = {name: folder for name, folder in trained.items() if folder is not None}
    if not folders:
        raise LmwrightError(f"step {run.name} has no model to compare")
    texts = read_texts(corpus / "text" / "validation.jsonl", config.text_bytes)
    if not texts:
        raise LmwrightError(f"step {run.name}: the corpus has no validation text")
    found: dict[str, Found] = {}
    samples: list[dict[str, str]] = []
    with run.progress("comparing", len(folders)) as task:
        for name, folder in folders.items():
            model = models.load(folder, dtype=torch.float32)
            found[name] = measure(model, texts, config, folder)
            if model.config.task == "causal_lm" and config.prompt:
                samples.append({"model": name, **_continued(folder, config)})
            task.advance(1, model=name)
    _report(run, found)
    if samples:
        run.samples("Continuations, greedy", samples)
    write_json(run.output / "evaluation.json", {n: _json(f) for n, f in found.items()})


def measure(model: Any, texts: list[str], config: LanguageModelsConfig, folder: Path) -> Found:
    """One model on the held-out text."""
    task, words = model.config.task, tokens.load(folder)
    length = min(config.row_length, model.config.max_position_embeddings)
    rows = pack(encode_texts(words, texts), length, pad_token_id=words.pad_token_id)
    loss = ValidationLoss(rows, objective_for(model.config, words, config.seed), config.seed)
    return Found(
        family=model.config.model_type,
        learns=_LEARNS[task],
        parameters=accounting.parameters(model.config)["total"],
        active=accounting.active_parameters(model.config),
        loss=loss(model)["validation_loss"],
        bits=bits_per_byte(model, words, texts, length) if task == "causal_lm" else None,
        agreement=agreement(model, folder) if config.ask_transformers else None,
    )


def agreement(model: Any, folder: Path) -> float | None:
    """max|difference| / RMS of the logits of `folder` as we and as transformers compute them.

    None where transformers is not installed or knows no such family.
    """
    opened = _opened_by_transformers(model.config.task, folder)
    if opened is None:
        return None
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (2, 32), generator=generator)
    extra = {"decoder_input_ids": ids} if model.config.task == "sequence_to_sequence" else {}
    with torch.no_grad():
        expected, given = opened(ids, **extra).logits, model(ids, **extra).logits
    return float((given - expected).abs().max() / expected.square().mean().sqrt())


def _opened_by_transformers(task: str, folder: Path) -> Callable[..., Any] | None:
    try:
        import transformers
    except ImportError:
        return None
    transformers.logging.disable_progress_bar()
    openers = {
        "causal_lm": transformers.AutoModelForCausalLM,
        "masked_lm": transformers.AutoModelForMaskedLM,
        "sequence_to_sequence": transformers.AutoModelForSeq2SeqLM,
    }
    values = models.exchange.read_config_json(folder)
    if values["model_type"] not in transformers.CONFIG_MAPPING:
        return None
    opened: Any = openers[task].from_pretrained(folder, dtype=torch.float32)
    return opened.eval()  # type: ignore[no-any-return]


def _continued(folder: Path, config: LanguageModelsConfig) -> dict[str, str]:
    from lmwright.engine.llm import LLM
    from lmwright.engine.sampling import SamplingParams

    params = SamplingParams(temperature=0.0, max_tokens=config.continuation_tokens)
    (completion,) = LLM(folder).generate([config.prompt], params)
    return {"prompt": config.prompt, "continuation": completion.text}


def _report(run: "StepRun", found: dict[str, Found]) -> None:
    columns = ["model", "family", "learns", "parameters", "for a token", "loss", "bits per byte"]
    asked = any(f.agreement is not None for f in found.values())
    rows = [
        [
            name,
            f.family,
            f.learns,
            f"{f.parameters:,}",
            f"{f.active:,}",
            f"{f.loss:.3f}",
            "-" if f.bits is None else f"{f.bits.value:.3f} {f.bits.interval}",
            *([_relative(f.agreement)] if asked else []),
        ]
        for name, f in found.items()
    ]
    run.table(
        "Held-out text",
        [*columns, *(["apart from transformers"] if asked else [])],
        rows,
        note=(
            "Loss in nats per predicted token; losses of different tasks do not compare. Bits per "
            "byte with a 95 % bootstrap interval over groups of rows."
            + (" The last column: max|difference| / RMS of the logits." if asked else "")
        ),
    )
    for name, f in found.items():
        run.summarize(**{f"validation_loss_{name}": round(f.loss, 5)})
        if f.bits is not None:
            run.summarize(**{f"bits_per_byte_{name}": round(f.bits.value, 5)})


def _relative(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _json(found: Found) -> dict[str, Any]:
    bits = None if found.bits is None else found.bits.value
    return {
        "family": found.family,
        "parameters": found.parameters,
        "active_parameters": found.active,
        "validation_loss": found.loss,
        "bits_per_byte": bits,
        "relative_to_transformers": found.agreement,
    }
