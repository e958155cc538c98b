"""How well a model predicts text it has not seen: bits per byte, and nats per answer token."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmwright.core.errors import LmwrightError
from lmwright.metrics.intervals import Interval, bootstrap
from lmwright.tokens import chat
from lmwright.tokens.loader import in_order
from lmwright.tokens.packing import IGNORED, PackedRows, pack
from lmwright.tokens.steps import encode_texts
from lmwright.training.objectives.loss import next_token_loss

if TYPE_CHECKING:
    from lmwright.models.transformer import Decoder
    from lmwright.tokens.tokenizer import Tokenizer

# Rows scored at once, and the unit that the interval resamples: text within a document is alike,
# so neighbouring tokens must not count as independent.
ROWS = 4
SEED = 0


@dataclass(frozen=True)
class BitsPerByte:
    """A model's compression of a text.

    Args:
        value: bits per byte.
        interval: its 95 % bootstrap interval over groups of rows.
        tokens: predicted tokens, ends of documents included.
        bytes: UTF-8 bytes that these tokens spell.
    """

    value: float
    interval: Interval
    tokens: int
    bytes: int


def bits_per_byte(
    model: "Decoder", tokenizer: "Tokenizer", texts: Sequence[str], row_length: int
) -> BitsPerByte:
    """Negative log2-likelihood of texts over the UTF-8 bytes they hold.

    What counts: every token of a document but its first, which has nothing before it, and the
    end-of-document token, which costs bits and spells no byte. Documents do not see each other;
    one longer than a row is cut, and the parts after the first begin without their past, as in
    training. Tokens of different vocabularies differ in length; bytes make models comparable.

    Args:
        model: called in evaluation mode; its mode is put back.
        tokenizer: byte-level.
        texts: whole documents.
        row_length: T, tokens of context at most.

    Raises:
        LmwrightError: if there is no token to predict.
    """
    documents = encode_texts(tokenizer, texts)
    rows = pack(documents, row_length, pad_token_id=tokenizer.pad_token_id)
    spelled = _bytes_of_token(tokenizer)
    counts = []
    for loss, targets in _losses(model, rows):
        counts.append((loss, spelled[targets].sum(), len(targets)))
    table = np.array(counts, dtype=np.float64).reshape(-1, 3)
    _, size, tokens = table.sum(axis=0)
    if size == 0:
        raise LmwrightError("the validation text has nothing to predict", hint="is it empty?")
    return BitsPerByte(
        value=_bits_over_bytes(table),
        interval=bootstrap(table, seed=SEED, statistic=_bits_over_bytes),
        tokens=int(tokens),
        bytes=int(size),
    )


def answer_loss(model: "Decoder", tokenizer: "Tokenizer", chats: Sequence[Sequence[Any]]) -> float:
    """Mean nats per token that the assistant of `chats` would have to write, ends of turn included.

    Args:
        model: called in evaluation mode; its mode is put back.
        tokenizer: with a chat template.
        chats: conversations of `{"role": ..., "content": ...}` turns.

    Raises:
        LmwrightError: if a chat has no assistant turn, or there are none.
    """
    longest = model.config.max_position_embeddings
    documents = list(chat.encode_chats(tokenizer, chats))
    fitting = [document for document in documents if len(document.ids) <= longest]
    if not fitting:
        raise LmwrightError(f"no validation chat fits the model's {longest} tokens of context")
    length = max(len(document.ids) for document in fitting)
    rows = pack(fitting, max(2, length), pad_token_id=tokenizer.pad_token_id)
    nats = tokens = 0.0
    for loss, targets in _losses(model, rows):
        nats += loss
        tokens += len(targets)
    return nats / tokens


def read_texts(file: Path, most_bytes: int) -> list[str]:
    """About `most_bytes` of the documents of a corpus's `text/*.jsonl`, spread evenly over it.

    Args:
        file: the JSONL file; an absent one holds nothing.
        most_bytes: of UTF-8; the last document is cut where it would exceed them.
    """
    if not file.exists():
        return []
    with open(file, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
    total = sum(len(text.encode()) for text in texts)
    count = min(len(texts), max(1, -(-len(texts) * most_bytes // max(1, total))))
    chosen, left = [], most_bytes
    for index in range(count):
        data = texts[index * len(texts) // count].encode()[:left]
        chosen.append(data.decode(errors="ignore"))
        left -= len(data)
        if left <= 0:
            break
    return chosen


def _losses(model: "Decoder", rows: PackedRows) -> Iterator[tuple[float, Any]]:
    """Summed nats, and the targets they were summed over, of a few rows at a time."""
    training = model.training
    model.eval()
    try:
        # Eager: a compiled block would be compiled again for rows of this length.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            for batch in in_order(rows, batch_rows=ROWS):
                targets = batch.targets[batch.targets != IGNORED]
                if len(targets):
                    yield float(next_token_loss(model, batch).loss), targets.numpy()
    finally:
        model.train(training)


def _bits_over_bytes(table: Any) -> float:
    nats, size, _ = table.sum(axis=0)
    return float(nats / math.log(2) / size)


def _bytes_of_token(tokenizer: "Tokenizer") -> Any:
    """(V,) how many bytes of text each id spells; 0 for special tokens."""
    sizes = np.zeros(tokenizer.vocab_size, np.int64)
    for token_id, data in tokenizer.token_bytes.items():
        sizes[token_id] = len(data)
    return sizes
