"""From a training step's keys to the model's config; torch-free, since a dry run needs it too."""

from lmwright.models.config import TransformerConfig
from lmwright.training.commands import ShapeConfig


def transformer_config(
    config: ShapeConfig,
    vocab_size: int,
    *,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """The decoder that a training step starts from nothing.

    Args:
        config: its shape.
        vocab_size: V of the tokenizer.
        bos_token_id, eos_token_id, pad_token_id: of the tokenizer, where there is one.
    """
    return TransformerConfig(
        model_type="qwen3",
        query_key_norm=True,
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_position_embeddings,
        # A small model's embedding would otherwise be most of it, twice.
        tie_word_embeddings=True,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )
