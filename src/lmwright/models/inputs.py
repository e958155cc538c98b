"""Whether what a transformer is called with fits it, said before a kernel complains."""

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig


def check_mask(input_ids: Tensor, attention_mask: Tensor | None, cached: bool) -> None:
    """Refuse shapes that do not fit each other.

    Args:
        input_ids: should be (B, T).
        attention_mask: should be (B or 1, T); with a cache (B or 1, S).
        cached: whether there is a cache.

    Raises:
        LmwrightError: naming the shapes.
    """
    shape = tuple(input_ids.shape)
    if len(shape) != 2:
        raise LmwrightError(
            f"input_ids is of shape {shape}; a model reads rows of tokens, (B, T)",
            hint="give one sequence as input_ids[None]",
        )
    if attention_mask is None:
        return
    given = tuple(attention_mask.shape)
    fits = len(given) == 2 and given[0] in (1, shape[0])
    if not fits or (given[1] < shape[1] if cached else given[1] != shape[1]):
        raise LmwrightError(
            f"attention_mask is of shape {given}, input_ids {shape}; "
            "the mask has one value for every token, cached ones included"
        )


def check_ids(input_ids: Tensor, config: TransformerConfig) -> None:
    """Refuse tokens that the vocabulary lacks.

    Raises:
        LmwrightError: naming the token.
    """
    if input_ids.is_floating_point():
        raise LmwrightError(f"input_ids is {input_ids.dtype}; tokens are whole numbers (int64)")
    if (stray := _stray(input_ids, config.vocab_size)) is not None:
        raise LmwrightError(
            f"input_ids has {stray}; this model knows the tokens 0 ... {config.vocab_size - 1}",
            hint="the tokenizer and the model do not belong together, or padding is not marked by "
            "a token",
        )


def check_kinds(token_type_ids: Tensor, config: TransformerConfig) -> None:
    """Refuse segments that the model lacks.

    Raises:
        LmwrightError: naming the segment.
    """
    kinds = config.token_type_vocab_size
    if (stray := _stray(token_type_ids, kinds)) is not None:
        raise LmwrightError(
            f"token_type_ids has {stray}; this model knows the types 0 ... {kinds - 1}"
        )


def check_positions(rows: Tensor, config: TransformerConfig) -> None:
    """Refuse positions that a learned table lacks.

    Args:
        rows: (B or 1, T) of the table.
        config: the model's.

    Raises:
        LmwrightError: naming the first position that is too far.
    """
    last = config.max_position_embeddings
    if (stray := _stray(rows, last + config.position_offset)) is not None:
        raise LmwrightError(
            f"a token stands at position {stray - config.position_offset}; "
            f"this model has learned the positions 0 ... {last - 1}",
            hint="cut the texts, or read them in pieces",
        )


def _stray(ids: Tensor, count: int) -> int | None:
    """An id that is not one of 0 ... count - 1; None: there is none, or nobody can tell."""
    # On an accelerator the look would cost a wait at every step; there the kernel complains.
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
        return None
    lowest, highest = (int(x) for x in ids.aminmax())
    if lowest < 0:
        return lowest
    return highest if highest >= count else None
