"""stories260K reads Shakespeare before and after its linear layers are quantised."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright import models, tokens
from lmwright.compression.rounding import expand, quantize_rows
from lmwright.models.transformer import Decoder
from lmwright.roadmap.proofs import data_folder

CHARACTERS = 20_000
TOKENS = 128  # in a row


def measure() -> dict[str, Any]:
    """Nats per token of 20,000 characters, by the model as published and in eight bits."""
    stories = data_folder("stories260K")
    model = models.load(stories / "stories260K.bin")
    text = (data_folder("tiny_shakespeare") / "input.txt").read_text("utf-8")[:CHARACTERS]
    ids = torch.tensor(tokens.load(stories).encode(text))
    rows = ids[: len(ids) // TOKENS * TOKENS].view(-1, TOKENS)
    before = nats_per_token(model, rows)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(expand(*quantize_rows(layer.weight)))
    return {
        "int8_nats_per_token": nats_per_token(model, rows),
        "float32_nats_per_token": before,
    }


def nats_per_token(model: Decoder, rows: Tensor) -> float:
    """Of all but each row's first token.

    Args:
        model: what reads.
        rows: (B, T) int64.
    """
    with torch.no_grad():
        logits = model.eval()(rows).logits[:, :-1]
    return float(F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()))
