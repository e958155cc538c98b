"""The steps of the tokens room: learn a tokenizer; pack texts and chats into shards."""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.corpora.datasets import Description
from lmwright.pipeline.run import StepRun
from lmwright.tokens import chat, shards
from lmwright.tokens.commands import PackChatsConfig, PackTextConfig, TrainConfig
from lmwright.tokens.packing import PackedRows, TokenDocument, pack
from lmwright.tokens.template import ChatTemplate
from lmwright.tokens.tokenizer import SPECIAL_TOKENS, Tokenizer, chatml, load
from lmwright.tokens.tokenizer import train as learn

Record: TypeAlias = dict[str, Any]

# Texts encoded at once: enough to keep every core busy, little memory.
TEXTS_PER_BATCH = 1024

TEXT_COLUMNS = frozenset(
    {"text", "sentence1", "sentence2", "tokens", "context", "question", "source", "target"}
    | {"dialogue", "summary"}
)
"""Columns of labelled datasets that hold words."""


def train(
    config: TrainConfig,
    run: StepRun,
    *,
    corpus: Path | None = None,
    dataset: Path | None = None,
) -> None:
    """Learn a tokenizer from the training texts and chats; writes the tokenizer's folder.

    Args:
        config: size of the vocabulary.
        run: the step's run.
        corpus: texts and chats, or:
        dataset: labelled rows.

    Raises:
        LmwrightError: if there is no training text of any kind, or not one of the two is given.
    """
    if (corpus is None) == (dataset is None):
        given = "neither" if corpus is None else "both"
        raise LmwrightError(f"{run.name} learns from a corpus or a dataset; {given} is given")
    if corpus is None:
        assert dataset is not None
        texts = dataset_texts(dataset, config.column, config.sample_bytes)
    else:
        texts = corpus_texts(corpus, config.sample_bytes)
    with run.progress("learning the vocabulary"):
        learned = learn(texts, config.vocab_size, kind=config.kind, lowercase=config.lowercase)
    learned.save(run.output)
    if learned.vocab_size < config.vocab_size:
        run.note(
            f"the vocabulary has {learned.vocab_size:,} tokens, not {config.vocab_size:,}: the "
            "corpus repeats no more pairs of tokens"
        )
    sample = "\n".join(texts[:: max(1, len(texts) // 1000)])[:1_000_000]
    run.summarize(
        vocab_size=learned.vocab_size,
        bytes_per_token=round(len(sample.encode()) / len(learned.encode(sample)), 3),
    )


def corpus_texts(corpus: Path, most_bytes: int) -> list[str]:
    """About `most_bytes` of a corpus's training texts, an equal share of each kind."""
    files = {part: corpus_file(corpus, part, "train") for part in ("text", "chats", "preferences")}
    parts = [part for part, file in files.items() if file.exists()]
    if len(parts) > 1:
        # Preferences repeat what the chats say, often word for word.
        parts = [part for part in parts if part != "preferences"]
    texts: list[str] = []
    for part in parts:
        lines = sample_lines(files[part], most_bytes // len(parts))
        texts += record_texts(map(json.loads, lines))
    return texts


def dataset_texts(dataset: Path, column: str | None, most_bytes: int) -> list[str]:
    """About `most_bytes` of a labelled dataset's training rows, their texts in all columns or one.

    Raises:
        LmwrightError: if the dataset has no such column.
    """
    known = Description.read(dataset).columns
    columns = [name for name in known if name in TEXT_COLUMNS and column in (None, name)]
    if not columns:
        raise LmwrightError(f"the dataset has no text in {column}; its columns: {', '.join(known)}")
    rows = map(json.loads, sample_lines(dataset / "train.jsonl", most_bytes))
    # Words of a sentence to be tagged are joined by spaces, as they are encoded later.
    values = (row[name] for row in rows for name in columns)
    return [value if isinstance(value, str) else " ".join(value) for value in values]


def pack_text(config: PackTextConfig, run: StepRun, *, corpus: Path, tokenizer: Path) -> None:
    """Encode the texts, each ended by the end-of-document token, and pack them into rows."""
    loaded = load(tokenizer)
    rows: dict[str, PackedRows] = {}
    extra: dict[str, dict[str, int]] = {}
    for split in shards.SPLITS:
        texts = [r["text"] for r in read_records(corpus_file(corpus, "text", split))]
        documents: list[TokenDocument] = []
        with run.progress(f"encoding {split} texts", len(texts)) as task:
            for batch in _batches(texts):
                documents += encode_texts(loaded, batch)
                task.advance(len(batch))
        rows[split] = pack(documents, config.row_length, pad_token_id=loaded.pad_token_id)
        extra[split] = {
            "documents": len(documents),
            "text_bytes": sum(map(len, map(str.encode, texts)))
            - sum(len(loaded.token_bytes.get(int(d.ids[0]), b"")) for d in documents),
        }
    _finish(run, rows, loaded, extra)


def pack_chats(config: PackChatsConfig, run: StepRun, *, corpus: Path, tokenizer: Path) -> None:
    """Encode the chats with the mask of the assistant's tokens and pack them into rows.

    A chat longer than a row is left out, since cutting it would part answers from questions.

    Raises:
        LmwrightError: if a chat has no assistant turn, or none fits a row.
    """
    loaded = load(tokenizer)
    rows: dict[str, PackedRows] = {}
    extra: dict[str, dict[str, int]] = {}
    for split in shards.SPLITS:
        chats = [r["messages"] for r in read_records(corpus_file(corpus, "chats", split))]
        documents: list[TokenDocument] = []
        with run.progress(f"encoding {split} chats", len(chats)) as task:
            for document in chat.encode_chats(loaded, chats):
                task.advance()
                if len(document.ids) <= config.row_length:
                    documents.append(document)
        _tell_too_long(run, config, split, chats=len(chats), kept=len(documents))
        rows[split] = pack(documents, config.row_length, pad_token_id=loaded.pad_token_id)
        extra[split] = {"documents": len(documents), "too_long": len(chats) - len(documents)}
    _finish(run, rows, loaded, extra)


def _tell_too_long(
    run: StepRun, config: PackChatsConfig, split: str, *, chats: int, kept: int
) -> None:
    if kept < chats:
        run.note(
            f"{chats - kept:,} of {chats:,} {split} chats are longer than a row of "
            f"{config.row_length} tokens and are left out (a higher {run.name}.row_length keeps "
            "them)"
        )
    if chats and not kept and split == "train":
        raise LmwrightError(
            f"no chat fits a row of {config.row_length} tokens",
            hint=f"set {run.name}.row_length higher",
        )


def corpus_file(corpus: Path, part: str, split: str) -> Path:
    """Where a corpus keeps the records of one part and split."""
    return corpus / part / f"{split}.jsonl"


def read_records(file: Path) -> Iterator[Record]:
    """The records of a corpus file; none if the corpus has no such split."""
    if not file.exists():
        return
    with open(file, encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def sample_lines(file: Path, most_bytes: int) -> Iterator[bytes]:
    """About `most_bytes` of a file's lines, spread evenly; all of them if they are fewer.

    Which lines is decided by their content, so the sample neither depends on their order nor
    changes between runs.
    """
    share = most_bytes / max(1, file.stat().st_size)
    with open(file, "rb") as lines:
        for line in lines:
            if share >= 1 or zlib.crc32(line) < share * 2**32:
                yield line


def record_texts(records: Iterable[Record]) -> Iterator[str]:
    """Texts as they stand; of chats, what lies between special tokens: all as encoded later."""
    template = ChatTemplate(chatml(), special_tokens=SPECIAL_TOKENS, variables={})
    for number, record in enumerate(records):
        if "text" in record:
            yield record["text"]
            continue
        messages = record.get("messages") or [*record["prompt"], *record["chosen"]]
        pieces = chat.training_pieces(template, number, messages)
        yield from (piece.text for piece in pieces if not piece.special)


def encode_texts(loaded: Tokenizer, texts: Sequence[str]) -> list[TokenDocument]:
    """Documents of whole texts, each ended by the end-of-document token."""
    return [
        TokenDocument(np.array([*ids, loaded.eos_token_id], np.uint32))
        for ids in loaded.encode_batch(texts)
        if ids
    ]


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, TEXTS_PER_BATCH)):
        yield batch


def _finish(
    run: StepRun,
    rows: dict[str, PackedRows],
    loaded: Tokenizer,
    extra: dict[str, dict[str, int]],
) -> None:
    """Write the shards and tell what they hold."""
    if not rows["train"].trained_tokens():
        raise LmwrightError("the corpus has no token to train on", hint="is it empty?")
    metadata = shards.write(rows, run.output, vocab_size=loaded.vocab_size, extra=extra)
    train = metadata["train"]
    run.summarize(
        **{
            f"{run.name}_tokens": train["tokens"],
            f"{run.name}_trained_tokens": train["trained_tokens"],
            f"{run.name}_fill_ratio": round(train["fill"], 4),
        }
    )
    columns = ("split", "documents", "rows", "tokens", "trained tokens", "fill")
    run.table(
        f"{run.name}: tokens in rows of {metadata['row_length']}",
        columns,
        [
            (split, m["documents"], m["rows"], m["tokens"], m["trained_tokens"], f"{m['fill']:.3f}")
            for split in shards.SPLITS
            for m in [metadata[split]]
        ],
    )
