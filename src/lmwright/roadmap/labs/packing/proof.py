"""stories260K reads instructions in packed rows."""

import json
from typing import Any

import torch
import torch.nn.functional as F

from lmwright import models, tokens
from lmwright.models.transformer import Decoder
from lmwright.roadmap.proofs import data_folder
from lmwright.tokens import packing
from lmwright.tokens.packing import IGNORED, PackedRows, TokenDocument

ROW_LENGTH = 256
ROWS_AT_ONCE = 16


def measure() -> dict[str, Any]:
    """Nats per token of the answers, how full the rows are, and how many there are."""
    stories = data_folder("stories260K")
    tokenizer = tokens.load(stories)
    file = data_folder("instructions") / "instruction-data.json"
    documents = []
    for row in json.loads(file.read_text(encoding="utf-8")):
        prompt = tokenizer.encode(f"{row['instruction']} {row['input']}\n")
        answer = tokenizer.encode(row["output"])
        mask = [False] * len(prompt) + [True] * len(answer)
        documents.append(TokenDocument([*prompt, *answer], mask))
    rows = packing.pack(documents, ROW_LENGTH, pad_token_id=tokenizer.pad_token_id)
    return {
        "nats_per_trained_token": nats(models.load(stories / "stories260K.bin"), rows),
        "fill": rows.fill(),
        "rows": len(rows),
        "documents": len(documents),
    }


def nats(model: Decoder, rows: PackedRows) -> float:
    """Mean over the positions that have a target; no document sees another."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(rows), ROWS_AT_ONCE):
            ids, targets, numbers = (
                torch.from_numpy(array[start : start + ROWS_AT_ONCE].astype("int64"))
                for array in (rows.input_ids, rows.targets, rows.document_ids)
            )
            logits = model.project(model.hidden_states(ids, document_ids=numbers))
            total += float(
                F.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
                )
            )
    return total / rows.trained_tokens()
