"""The step that encodes a labelled dataset for training: ids, masks, labels, as mapped arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Row
from lmwright.corpora.datasets import Description, read_rows
from lmwright.pipeline.run import StepRun
from lmwright.tokens import encoding, examples
from lmwright.tokens.commands import EncodeExamplesConfig
from lmwright.tokens.encoding import Collected
from lmwright.tokens.tokenizer import Tokenizer, load

SEQUENCES = {
    "translation": ("source", "target"),
    "summarization": ("dialogue", "summary"),
    "dialogue": ("source", "target"),
}
"""Tasks whose answer is a text, and their columns."""


def encode_examples(
    config: EncodeExamplesConfig,
    run: StepRun,
    *,
    dataset: Path,
    tokenizer: Path,
    target_tokenizer: Path | None = None,
) -> None:
    """Encode every split of a labelled dataset; writes a folder of examples.

    Args:
        config: longest examples.
        run: the step's run.
        dataset: what `corpora.dataset` wrote.
        tokenizer: of the texts.
        target_tokenizer: of the targets of a sequence-to-sequence task; None: the same.

    Raises:
        LmwrightError: if the dataset has no labels to learn, or nothing of it fits.
    """
    description = Description.read(dataset)
    if description.task == "language_modeling":
        raise LmwrightError(
            f"dataset {description.name} has no labels", hint="pack its text with tokens.pack_text"
        )
    source = load(tokenizer)
    target = load(target_tokenizer) if target_tokenizer else source
    sequences = description.task in SEQUENCES
    start = config.decoder_start_token_id
    if start is None:
        start = target.eos_token_id if target.bos_token_id is None else target.bos_token_id
    splits = {}
    lost: dict[str, Collected] = {}
    for split in description.rows:
        rows = read_rows(dataset, split)
        with run.progress(f"encoding {split}"):
            encoded = _encode(config, description, source, target, rows, split)
        splits[split] = encoded.examples(description.task, source, start if sequences else None)
        lost[split] = encoded
    metadata = examples.write(
        splits,
        run.output,
        extra={
            "dataset": description.name,
            "labels": list(description.labels),
            "pairs": description.pairs,
            "max_length": config.max_length,
            "vocab_size": source.vocab_size,
            "target_vocab_size": target.vocab_size if sequences else None,
            "eos_token_id": target.eos_token_id,
        },
    )
    _report(run, description, metadata, lost)


def _encode(
    config: EncodeExamplesConfig,
    description: Description,
    source: Tokenizer,
    target: Tokenizer,
    rows: Sequence[Row],
    split: str,
) -> Collected:
    """One split, by its task."""
    task, labels = description.task, description.labels
    if task in ("classification", "regression"):
        return encoding.encode_classes(source, rows, labels, config.max_length)
    if task == "tagging":
        return encoding.encode_tags(source, rows, labels, config.max_length)
    if task == "question_answering":
        return encoding.encode_questions(source, rows, config.max_length, config.stride)
    return encoding.encode_sequences(
        source,
        target,
        rows,
        SEQUENCES[task],
        (config.max_length, config.max_target_length),
        drop_long=split == "train",
        keep_end=task == "dialogue",
    )


def _report(
    run: StepRun, description: Description, metadata: dict[str, Any], lost: dict[str, Collected]
) -> None:
    splits = metadata["splits"]
    if not splits["train"]["examples"]:
        raise LmwrightError(
            "no training example fits",
            hint=f"set {run.name}.max_length or max_target_length higher",
        )
    for split, encoded in lost.items():
        if encoded.cut:
            run.note(
                f"{encoded.cut:,} of {description.rows[split]:,} {split} rows are longer than "
                f"allowed and are cut (a higher {run.name}.max_length keeps them)"
            )
        if encoded.left_out:
            run.note(
                f"{encoded.left_out:,} of {description.rows[split]:,} {split} rows are empty or "
                "longer than allowed and are left out"
            )
    run.summarize(**{f"{run.name}_train_tokens": splits["train"]["tokens"]})
    run.table(
        f"{run.name}: encoded examples of {description.name}",
        ["split", "examples", "tokens", "longest, tokens", "target tokens"],
        [
            (name, m["examples"], m["tokens"], m["longest"], m["target_tokens"])
            for name, m in splits.items()
        ],
    )
