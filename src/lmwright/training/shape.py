"""From a training step's keys to the model's config; torch-free, since a dry run needs it too."""

from pydantic import ValidationError

from lmwright.core.config import first_problem
from lmwright.core.errors import LmwrightError
from lmwright.models import families
from lmwright.models.config import TransformerConfig
from lmwright.training.commands import PretrainConfig, ShapeConfig

USUAL_VOCABULARY = 2048
"""The recipe's tokenizer decides; a dry run has not seen it yet."""

KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
"""Of `ShapeConfig`: the shape itself."""


def transformer_config(
    config: ShapeConfig,
    vocab_size: int,
    *,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """The model that a training step starts from nothing.

    Args:
        config: its shape, and its family where it names one.
        vocab_size: V of the tokenizer.
        bos_token_id, eos_token_id, pad_token_id: of the tokenizer, where there is one.

    Raises:
        LmwrightError: if the family is unknown, or the shape is impossible.
    """
    family = families.named(config.family if isinstance(config, PretrainConfig) else "qwen3")
    wanted = {
        "vocab_size": vocab_size,
        # A small model's embedding would otherwise be most of it, twice.
        "tie_word_embeddings": True,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "pad_token_id": pad_token_id,
        # Small models see little text more than once: what dropout is good for does not arise.
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "decoder_start_token_id": pad_token_id,
        "num_decoder_layers": config.num_hidden_layers,
    } | {key: getattr(config, key) for key in KEYS}
    # What the family has no key for follows from the rest: GPT-2's heads are not shared.
    values = {key: value for key, value in wanted.items() if key in family.fields}
    values |= config.shape if isinstance(config, PretrainConfig) else {}
    try:
        made = TransformerConfig.model_validate(family.fresh(**values))
    except ValidationError as error:
        raise LmwrightError(f"shape: {first_problem(error, TransformerConfig)}") from error
    made.to_hf()  # what the family cannot write down is told now, not when the model is saved
    return made
