"""Generation where one sequence is read and another is written."""

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.engine.beam_search import Writer, beam_search, greedy, penalty
from lmwright.engine.growing import GrowingCache
from lmwright.engine.runner import generating
from lmwright.models.encoder_decoder import EncoderDecoder
from lmwright.models.recurrent_encoder_decoder import RecurrentEncoderDecoder


class TransformerWriter:
    """The decoder of an `EncoderDecoder`, its keys and values cached.

    Args:
        model: whose decoder.
        input_ids: (N, S), what was read.
        attention_mask: (N, S), 0 where it is padding; None: nothing is.
    """

    def __init__(
        self, model: EncoderDecoder, input_ids: Tensor, attention_mask: Tensor | None
    ) -> None:
        self.model = model
        self.memory = model.encode(input_ids, attention_mask)
        self.mask = attention_mask
        self.cache = GrowingCache()
        self.written = 0

    def step(self, token_ids: Tensor) -> Tensor:
        """See `Writer`."""
        place = torch.full((1, 1), self.written, device=token_ids.device)
        self.written += 1
        hidden = self.model.decoder_states(
            token_ids[:, None], self.memory, self.mask, None, place, self.cache
        )
        return self.model.project(hidden[:, -1])

    def select(self, rows: Tensor) -> None:
        """See `Writer`."""
        self.memory = self.memory[rows]
        self.mask = None if self.mask is None else self.mask[rows]
        self.cache.select(rows)


class RecurrentWriter:
    """The decoder of a `RecurrentEncoderDecoder`, and its state.

    Args:
        model, input_ids, attention_mask: see `TransformerWriter`.
    """

    def __init__(
        self, model: RecurrentEncoderDecoder, input_ids: Tensor, attention_mask: Tensor | None
    ) -> None:
        self.model = model
        self.memory = model.encode(input_ids, attention_mask)
        self.state = self.memory.state

    def step(self, token_ids: Tensor) -> Tensor:
        """See `Writer`."""
        logits, self.state, _ = self.model.step(self.memory, self.state, token_ids)
        return logits

    def select(self, rows: Tensor) -> None:
        """See `Writer`."""
        self.memory, self.state = self.memory.select(rows), self.state.select(rows)


def generate(
    model: EncoderDecoder | RecurrentEncoderDecoder,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_tokens: int,
    beams: int = 1,
    length_penalty: float = 0.6,
) -> list[list[int]]:
    """Write a target for each source.

    Args:
        model: reads the sources, writes the targets.
        input_ids: (B, S) integers, the sources.
        attention_mask: (B, S), 0 where they are padding; None: nothing is.
        max_tokens: of a target at most, its end token included.
        beams: targets that are followed at once; 1: greedy, always the likeliest token.
        length_penalty: alpha of `penalty`, at least 0; 0 prefers the likeliest target, larger
            values longer ones. GNMT found 0.6 to 0.7 best.

    Returns:
        B lists of token ids, without the start and the end token.

    Raises:
        LmwrightError: if a setting is out of range, or the model names no token to begin with.
    """
    start, ends = _special_tokens(model)
    _check(model, input_ids, attention_mask, max_tokens, beams, length_penalty)
    first = torch.full((len(input_ids),), start, device=input_ids.device)
    with generating(model):
        writer: Writer
        if isinstance(model, EncoderDecoder):
            writer = TransformerWriter(model, input_ids, attention_mask)
        else:
            writer = RecurrentWriter(model, input_ids, attention_mask)
        if beams == 1:
            return greedy(writer, first, ends, max_tokens)
        return beam_search(
            writer, first, ends, max_tokens, beams, lambda n: penalty(n, length_penalty)
        )


def _special_tokens(model: EncoderDecoder | RecurrentEncoderDecoder) -> tuple[int, Tensor]:
    start, end = model.config.decoder_start_token_id, model.config.eos_token_id
    if start is None:
        raise LmwrightError("the model's config names no decoder_start_token_id to begin with")
    ends = () if end is None else (end,) if isinstance(end, int) else end
    return start, torch.tensor(ends, dtype=torch.long, device=model.output_weight.device)


def _check(
    model: EncoderDecoder | RecurrentEncoderDecoder,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_tokens: int,
    beams: int,
    length_penalty: float,
) -> None:
    if input_ids.ndim != 2 or not input_ids.shape[1]:
        raise LmwrightError(f"input_ids has shape {tuple(input_ids.shape)}, not (rows, tokens)")
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise LmwrightError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, "
            f"input_ids {tuple(input_ids.shape)}"
        )
    if max_tokens < 1 or beams < 1 or length_penalty < 0:
        raise LmwrightError(
            f"max_tokens {max_tokens}, beams {beams}, length_penalty {length_penalty}: "
            "the first two must be at least 1, the third at least 0"
        )
    if isinstance(model, EncoderDecoder) and model.config.positions == "learned":
        most = model.config.max_position_embeddings
        if max_tokens > most or input_ids.shape[1] > most:
            raise LmwrightError(
                f"{input_ids.shape[1]} tokens to read and {max_tokens} to write; "
                f"the model has {most} positions for each"
            )
