"""What a model that starts from nothing is made of, and what it learns from plain text."""

from pathlib import Path
from typing import Any

import torch

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.models.build import build
from lmwright.models.config import TransformerConfig
from lmwright.tokens.tokenizer import Tokenizer
from lmwright.training.commands import ShapeConfig
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.objectives.loss import Objective
from lmwright.training.objectives.masked_lm import MaskedLM
from lmwright.training.objectives.span_corruption import SpanCorruption
from lmwright.training.shape import transformer_config


def new_model(config: ShapeConfig, tokenizer: Path) -> Any:
    """A model with fresh weights for this tokenizer's vocabulary."""
    words = tokens.load(tokenizer)
    model = build(
        transformer_config(
            config,
            words.vocab_size,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )
    model.initialize(config.seed)  # type: ignore[operator]
    return model


def objective_for(config: TransformerConfig, words: Tokenizer, seed: int = 0) -> Objective:
    """What such a model learns from text: the next token, hidden tokens, or cut-out pieces.

    Args:
        config: of the model.
        words: its tokenizer.
        seed: of what is hidden or cut out.

    Raises:
        LmwrightError: if the tokenizer lacks the tokens that the objective needs.
    """
    if config.task == "masked_lm":
        if words.mask_token_id is None:
            raise LmwrightError(
                "masked language modelling needs a tokenizer with a mask token",
                hint="train one with kind: wordpiece",
            )
        return MaskedLM(
            words.vocab_size,
            words.mask_token_id,
            [words.id_of(token) for token in words.special_tokens],
            begins_word=torch.from_numpy(words.begins_word),
            seed=seed,
        )
    if config.architecture == "encoder_decoder":
        return _span_corruption(config, words, seed)
    return CausalLM()


def _span_corruption(config: TransformerConfig, words: Tokenizer, seed: int) -> SpanCorruption:
    sentinels = [
        words.id_of(token) for token in words.special_tokens if token.startswith("<extra_id_")
    ]
    first = max(sentinels, default=0)
    if not sentinels or sorted(sentinels) != list(range(first - len(sentinels) + 1, first + 1)):
        raise LmwrightError(
            "span corruption needs a tokenizer whose last tokens are <extra_id_...>",
            hint="train one with kind: unigram",
        )
    start = config.decoder_start_token_id
    assert words.eos_token_id is not None
    return SpanCorruption(
        first_sentinel_id=first,
        sentinels=len(sentinels),
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        decoder_start_token_id=words.pad_token_id if start is None else start,
        seed=seed,
    )
