"""A model small enough to be served in a test: random weights, a vocabulary with its own text."""

import torch

from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.tokens.tokenizer import Tokenizer, train
from tests.tokens.tool_template import HERMES

TEXT = "str.upper returns a copy of the string. Größe, naïve, 日本語, 🙂🙃. What does it do? "


def small_model(context: int) -> tuple[Decoder, Tokenizer]:
    """The model and its tokenizer, the same at every call.

    Args:
        context: most tokens of prompt and answer together.
    """
    learned = train([TEXT * 3], vocab_size=320)
    tokenizer = Tokenizer(learned.rust, learned._config, HERMES)
    decoder = Decoder(
        TransformerConfig(
            vocab_size=320,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=context,
            tie_word_embeddings=True,
        )
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in decoder.parameters():
            # Wide enough that the answers are not one token over and over.
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if weight.dim() == 1 else 0.4 * noise)
    return decoder.eval(), tokenizer
