"""Tiny models and random packed rows for the training tests."""

import torch

from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.tokens.loader import Loader, TokenBatch
from lmwright.tokens.packing import PackedRows, TokenDocument, pack


def tiny_decoder(seed: int = 0, dtype: torch.dtype = torch.float32) -> Decoder:
    model = Decoder(
        TransformerConfig(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=64,
            tie_word_embeddings=True,
        )
    )
    model.initialize(seed)
    # Output projections start at zero; random ones make every gradient non-trivial.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for block in model.layers:
            block.self_attn.o_proj.weight.normal_(0, 0.1, generator=generator)
            block.mlp.down_proj.weight.normal_(0, 0.1, generator=generator)
    return model.to(dtype)


def random_rows(seed: int = 0, documents: int = 60, row_length: int = 24) -> PackedRows:
    """Documents of random length and a random trained part: ragged rows and masks."""
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    made = []
    for _ in range(documents):
        length = number(2, row_length)
        # A learnable pattern: each token follows from the one before.
        start = number(1, 60)
        ids = [(start + 7 * i) % 60 + 1 for i in range(length)]
        trained = number(1, length)
        made.append(TokenDocument(ids, [i >= trained for i in range(length)]))
    return pack(made, row_length, pad_token_id=0)


def random_batch(rows: int = 8, seed: int = 0) -> TokenBatch:
    return next(iter(Loader(random_rows(seed, documents=8 * rows), batch_rows=rows, seed=seed)))
