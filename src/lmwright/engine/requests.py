"""What callers give and get: prompts become sequences, finished sequences become answers."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.engine.params import SamplingParams
from lmwright.engine.sampling import Matcher, SamplingState
from lmwright.engine.sequence import FinishReason, PromptLogprob, Sequence, Top
from lmwright.engine.stopping import AnswerText
from lmwright.models.config import TransformerConfig
from lmwright.tokens.tokenizer import Tokenizer

Prompt = str | Items[int]


@dataclass(frozen=True)
class Completion:
    """One finished answer."""

    text: str
    """Without the end token, and without the stop string that ended it."""
    token_ids: list[int]
    """All that was generated, the end token included."""
    logprobs: list[float] | None
    """Natural log-probability of each of `token_ids`, if asked for; see `sampling.choose`."""
    finish_reason: FinishReason
    top_logprobs: list[Top] | None = None
    """The likeliest tokens in the place of each of `token_ids`, if asked for."""
    prompt_logprobs: list[PromptLogprob] | None = None
    """Of the prompt's tokens from the second on, if asked for."""


@dataclass(frozen=True)
class Reader:
    """Turns prompts into sequences for one model.

    Args:
        tokenizer: the model's.
        vocab_size: V of the model.
        context_length: most tokens of prompt and answer together.
        end_ids: tokens that end an answer.
        adapters: names of those that the model has.
    """

    tokenizer: Tokenizer
    vocab_size: int
    context_length: int
    end_ids: frozenset[int]
    adapters: Items[str] = ()

    def sequence(
        self, prompt: Prompt, params: SamplingParams, request_id: int, *, streaming: bool
    ) -> Sequence:
        """A request at its start.

        Args:
            prompt: text, or token ids.
            params: how to sample.
            request_id: the sequence's.
            streaming: whether its text is wanted as it grows.

        Raises:
            LmwrightError: if the prompt is empty, too long, or not of this vocabulary, the
                parameters name a token that is not, there is no such adapter, or the constraint
                cannot be followed.
        """
        if params.adapter is not None and params.adapter not in self.adapters:
            raise LmwrightError(
                f"this engine has no adapter named {params.adapter}",
                hint=f"it has: {', '.join(self.adapters) or 'none'}",
            )
        params.check_vocabulary(self.vocab_size)
        ids = self._prompt_ids(prompt, params)
        limit = min(params.max_tokens, self.context_length - len(ids))
        state = SamplingState(
            params, ids, end_ids=self.end_ids, matcher=self._matcher(params, limit)
        )
        text = AnswerText(self.tokenizer.stream_decoder(), params.stop) if streaming else None
        return Sequence(request_id, ids, params, limit=limit, text=text, state=state)

    def completion(self, sequence: Sequence) -> Completion:
        """The answer of a finished sequence.

        Raises:
            LmwrightError: if it failed.
        """
        raise_if_failed(sequence.error)
        reason, params = sequence.finish_reason, sequence.params
        assert reason is not None, "an unfinished sequence"
        if sequence.text is not None:
            text = sequence.text.text
        else:
            ids = sequence.token_ids
            ended = bool(ids) and ids[-1] in sequence.end_ids
            text = self.tokenizer.decode(ids[:-1] if ended else ids)
        return Completion(
            text,
            sequence.token_ids,
            sequence.logprobs if params.logprobs else None,
            reason,
            sequence.tops if params.logprobs and params.top_logprobs else None,
            sequence.prompt_logprobs if params.prompt_logprobs else None,
        )

    def _matcher(self, params: SamplingParams, limit: int) -> Matcher | None:
        if params.constraint is None:
            return None
        # Here and not above: few requests need it.
        from lmwright.engine.constraints import Grammar

        grammar = Grammar.compile(params.constraint, self.tokenizer)
        return grammar.matcher(end_ids=self.end_ids | {*params.stop_token_ids}, most=limit)

    def _prompt_ids(self, prompt: Prompt, params: SamplingParams) -> list[int]:
        ids = self.tokenizer.encode_prompt(prompt) if isinstance(prompt, str) else list(prompt)
        if not ids and isinstance(prompt, str):
            # Documents begin after the end of another one: so does text out of nothing.
            start = self.tokenizer.bos_token_id
            ids = [self.tokenizer.eos_token_id if start is None else start]
        if not ids:
            raise LmwrightError("the prompt is empty: there is nothing to continue")
        if len(ids) + min(params.max_tokens, 1) > self.context_length:
            raise LmwrightError(
                f"the prompt has {len(ids)} tokens; this model reads at most "
                f"{self.context_length} (max_position_embeddings, or less where its cache is "
                "smaller), the answer's included",
                hint="shorten the prompt, or leave out earlier turns",
            )
        last = self.vocab_size - 1
        if min(ids) < 0 or max(ids) > last:
            raise LmwrightError(
                f"the prompt has token ids outside of this model's vocabulary, 0 .. {last}",
                hint="encode it with the tokenizer of this model's folder",
            )
        return ids


def raise_if_failed(error: str | None) -> None:
    """Say that a request failed.

    Raises:
        LmwrightError: unless `error` is None.
    """
    if error is not None:
        raise LmwrightError(f"generation failed: {error}")


def as_ids(value: int | Items[int] | None) -> tuple[int, ...]:
    """A config's token id, ids, or none, as ids."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def end_ids(config: TransformerConfig, tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that end a model's answers.

    A chat model ends its turn with one token, a base model its document with another.
    """
    ends = {*as_ids(config.eos_token_id), tokenizer.eos_token_id}
    return frozenset(ends | set(as_ids(tokenizer.end_of_turn_id)))


def folder_end_ids(folder: Path) -> frozenset[int]:
    """Those that a model folder's `generation_config.json` names besides, if it has one."""
    path = folder / "generation_config.json"
    if not path.exists():
        return frozenset()
    return frozenset(as_ids(read_json(path).get("eos_token_id")))
