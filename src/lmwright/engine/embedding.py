"""Texts to vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.engine.runner import generating
from lmwright.models.heads import Embedder
from lmwright.tokens.encoding import framed
from lmwright.tokens.tokenizer import Tokenizer


def embed(model: Embedder, tokenizer: Tokenizer, texts: Sequence[str], batch: int = 32) -> Tensor:
    """A vector for each text.

    Args:
        model: a sentence embedder, such as `models.load(folder, task="embedding")`.
        tokenizer: the model's.
        texts: N of them; each is cut to what the model reads.
        batch: texts at once. Those of like length go together, so that little is padding.

    Returns:
        (N, D) float32 on the CPU, in the order of the texts.

    Raises:
        LmwrightError: if the model gives no vectors, or a text is not Unicode.
    """
    if not isinstance(model, Embedder):
        raise LmwrightError(
            f"{type(model).__name__} gives no sentence vectors",
            hint='open it with models.load(folder, task="embedding")',
        )
    limit = model.head_config.max_length or model.config.max_position_embeddings
    encoded = [framed(tokenizer, text, max_length=limit).input_ids for text in texts]
    order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index]))
    vectors = torch.empty(len(encoded), model.config.hidden_size)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        rows = [encoded[index] for index in chosen]
        vectors[chosen] = embed_ids(model, rows, tokenizer.pad_token_id)
    return vectors


def embed_ids(model: Embedder, rows: Sequence[Sequence[int]], pad_token_id: int) -> Tensor:
    """The vectors of texts that are encoded already, in one pass.

    Args:
        model: a sentence embedder.
        rows: B texts' ids, special tokens included, none longer than the model reads.
        pad_token_id: fills the shorter ones.

    Returns:
        (B, D) float32 on the CPU.
    """
    width = max(map(len, rows))
    device = next(model.parameters()).device

    def padded(values: Sequence[Sequence[int]], filler: int) -> Tensor:
        filled = [[*row, *[filler] * (width - len(row))] for row in values]
        return torch.tensor(filled, device=device)

    with generating(model):
        output = model(
            padded(rows, pad_token_id),
            padded([[1] * len(row) for row in rows], 0),
            # A text by itself is the first part of no pair.
            token_type_ids=padded([[0] * len(row) for row in rows], 0),
        )
    vectors: Tensor = output.logits.float().cpu()
    return vectors
