"""What each format of the weights costs in quality: bits per byte of held-out text."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import Row

FORMATS = (("bf16", None), ("int8", None), ("int8", "int8"), ("int4", None))
"""Of weights, and of keys and values; None: as the engine chooses."""
INT8_MAY_LOSE = 0.005
TEXT_BYTES = 200_000
ROW = 128
"""Tokens of a row, as the quickstart trains with."""


def quality_rows(run: str) -> list[Row]:
    """Bits per byte of a run's model with fp32 weights and with each other format.

    Args:
        run: name or folder of a run whose corpus has held-out text.
    """
    from lmwright import models, tokens
    from lmwright.models.locate import find_model

    folder = find_model(run)
    model = models.load(folder).float().eval()
    words = tokens.load(folder)
    rows = list(_rows(words, held_out_text(folder), model.config.max_position_embeddings))
    exact = bits_per_byte(model, rows, words, "fp32", None)
    found = []
    for weights, kv in FORMATS:
        value = bits_per_byte(model, rows, words, weights, kv)
        named = f"{weights} weights" + (f", {kv} keys and values" if kv else "")
        found.append(
            Row(
                case=f"{Path(run).name}: {named}",
                unit="bits per byte",
                ours=value,
                peer="fp32 weights",
                theirs=exact,
                comparison="difference",
                values=[value / exact - 1],
                target=INT8_MAY_LOSE if weights == "int8" else None,
                note="the difference is relative",
            )
        )
    return found


def held_out_text(model: Path) -> list[str]:
    """The validation text of the corpus in the run that a model folder belongs to."""
    from lmwright.core.errors import LmwrightError
    from lmwright.evaluation.likelihood import read_texts

    for parent in (model.resolve(), *model.resolve().parents):
        for file in sorted(parent.glob("steps/*/output/text/validation.jsonl")):
            if texts := read_texts(file, TEXT_BYTES):
                return texts
    raise LmwrightError(f"{model} belongs to no run with held-out text")


def _rows(words: Any, texts: list[str], context: int) -> Iterator[list[int]]:
    """Documents, each with its end, cut into rows of which every token but the first counts."""
    length = min(ROW, context)
    for ids in words.encode_batch(texts):
        ids = [*ids, words.eos_token_id]
        for start in range(0, len(ids), length):
            if len(ids) - start > 1:
                yield ids[start : start + length]


def bits_per_byte(model: Any, rows: list[list[int]], words: Any, weights: Any, kv: Any) -> float:
    """Of the rows, by the native engine with weights, keys and values in these formats.

    Raises:
        NotCovered: if the native engine does not run this model here.
    """
    import torch

    from lmwright.engine.batch import Batch
    from lmwright.engine.native import open_runner

    size = 16
    blocks = -(-max(map(len, rows)) // size)
    runner = open_runner(model, num_blocks=blocks, block_size=size, weights=weights, kv=kv)
    spelled = {token: len(data) for token, data in words.token_bytes.items()}
    nats, spelt = 0.0, 0
    for row in rows:
        ids = torch.tensor(row)
        places = torch.arange(len(row))
        logits = runner.forward(
            Batch(
                token_ids=ids,
                positions=places,
                query_starts=torch.tensor([0, len(row)], dtype=torch.int32),
                context_lengths=torch.tensor([len(row)], dtype=torch.int32),
                block_tables=torch.arange(blocks, dtype=torch.int32)[None],
                logit_rows=places[:-1],
            )
        )
        chosen = logits.double().log_softmax(-1).gather(1, ids[1:, None])
        nats -= float(chosen.sum())
        spelt += sum(spelled.get(token, 0) for token in row[1:])
    return nats / math.log(2) / spelt
