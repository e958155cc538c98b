"""The engine's front: open a model, give it prompts, get answers whole or as they grow."""

import itertools
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import torch

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.engine.runner import Runner, generating
from lmwright.engine.sampling import SamplingParams
from lmwright.engine.scheduler import Scheduler
from lmwright.engine.sequence import Event, FinishReason, Sequence
from lmwright.engine.stopping import AnswerText
from lmwright.models.locate import find_model
from lmwright.models.transformer import Decoder
from lmwright.tokens.tokenizer import Tokenizer

Message = Mapping[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}."""

Prompt = str | Items[int]


class QueueFull(LmwrightError):
    """More requests wait than the engine accepts; try again when some have finished."""


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


@dataclass(frozen=True)
class Delta:
    """A piece of an answer that is being generated."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None


class LLM:
    """A model, its tokenizer, and continuous batching over them; used by one thread at a time.

    Args:
        name: run name, run folder, model folder or hub id.
        dtype: compute in this type; None: as the weights are stored.
        max_sequences: most sequences that run at once.
        max_waiting: most requests that `add` lets wait behind them.

    Raises:
        LmwrightError: if there is no such model, or it cannot be read.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        dtype: torch.dtype | None = None,
        max_sequences: int = 32,
        max_waiting: int = 1024,
    ) -> None:
        from lmwright.compression import weights

        folder = find_model(str(name))
        model = weights.load(folder, dtype=dtype)
        model.eval()
        self._setup(model, tokens.load(folder), max_sequences, max_waiting)
        self.end_ids |= _generation_end_ids(folder / "generation_config.json")

    @classmethod
    def from_model(
        cls,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        max_sequences: int = 32,
        max_waiting: int = 1024,
    ) -> "LLM":
        """Generate with live weights, as they are at each step; for evaluation and rollouts.

        The model's training mode, the gradients' state and all global random generators are as
        they were after every call.
        """
        llm = cls.__new__(cls)
        llm._setup(model, tokenizer, max_sequences, max_waiting)
        return llm

    def _setup(
        self, model: Decoder, tokenizer: Tokenizer, max_sequences: int, max_waiting: int
    ) -> None:
        if max_sequences < 1:
            raise LmwrightError(f"max_sequences={max_sequences}: it must be at least 1")
        self.model = model
        self.tokenizer = tokenizer
        self.max_sequences = max_sequences
        self.max_waiting = max_waiting
        # A chat model ends its turn with one token, a base model its document with another.
        ends = {*_as_ids(model.config.eos_token_id), tokenizer.eos_token_id}
        self.end_ids = frozenset(ends | set(_as_ids(tokenizer.end_of_turn_id)))
        self._ids = itertools.count()
        self._scheduler = self._fresh_scheduler()

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.model.config.max_position_embeddings

    @property
    def running(self) -> int:
        """Requests that `step` is generating for."""
        return len(self._scheduler.running)

    @property
    def waiting(self) -> int:
        """Requests that have not joined yet."""
        return len(self._scheduler.waiting)

    def generate(
        self,
        prompts: Items[Prompt],
        params: SamplingParams | Items[SamplingParams] = SamplingParams(),  # noqa: B008 - frozen
    ) -> list[Completion]:
        """Answer all prompts; the answers stand in the prompts' order.

        Args:
            prompts: texts, or token ids.
            params: for all of them, or one each.

        Raises:
            LmwrightError: if a prompt is empty, too long, or not of this vocabulary.
        """
        if isinstance(prompts, str):
            raise LmwrightError("generate takes a list of prompts, not one text")
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
        if len(each) != len(prompts):
            raise LmwrightError(f"{len(prompts)} prompts, but {len(each)} sampling parameters")
        sequences = [
            # Text is decoded once at the end unless a stop string has to be watched for.
            self._sequence(prompt, p, number, streaming=bool(p.stop))
            for number, (prompt, p) in enumerate(zip(prompts, each, strict=True))
        ]
        scheduler = self._fresh_scheduler()
        # Prompts of like length join together, so that little padding is computed.
        for sequence in sorted(sequences, key=lambda s: len(s.prompt_ids)):
            scheduler.add(sequence)
        with generating(self.model):
            while scheduler.has_work:
                scheduler.step()
        return [self._completion(sequence) for sequence in sequences]

    def chat(
        self,
        conversations: Items[Items[Message]],
        params: SamplingParams | Items[SamplingParams] = SamplingParams(),  # noqa: B008 - frozen
    ) -> list[Completion]:
        """Answer the last turn of each conversation; see `generate`."""
        prompts = [self.tokenizer.encode_chat(messages) for messages in conversations]
        return self.generate(prompts, params)

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams = SamplingParams(),  # noqa: B008 - frozen
    ) -> Iterator[Delta]:
        """Answer one prompt piece by piece; the joined texts are `generate`'s text.

        Closing the iterator stops the generation.

        Raises:
            LmwrightError: as `generate`, at once and not at the first piece.
        """
        scheduler = self._fresh_scheduler()
        scheduler.add(self._sequence(prompt, params, 0, streaming=True))
        return self._stream(scheduler)

    def _stream(self, scheduler: Scheduler) -> Iterator[Delta]:
        while scheduler.has_work:
            with generating(self.model):
                events = scheduler.step()
            for event in events:
                _raise_if_failed(event.error)
                ids = [] if event.token_id is None else [event.token_id]
                yield Delta(event.text, ids, event.finish_reason)

    def add(self, prompt: Prompt, params: SamplingParams) -> int:
        """Queue a request for `step`; return its id.

        Raises:
            LmwrightError: if the prompt cannot be answered; no other request is touched.
            QueueFull: if `max_waiting` requests wait already.
        """
        if len(self._scheduler.waiting) >= self.max_waiting:
            raise QueueFull(
                f"{self.max_waiting} requests are waiting already",
                hint="try again when some have finished, or raise max_waiting",
            )
        request_id = next(self._ids)
        self._scheduler.add(self._sequence(prompt, params, request_id, streaming=True))
        return request_id

    def step(self) -> list[Event]:
        """Give each running request its next token; see `Scheduler.step`."""
        with generating(self.model):
            return self._scheduler.step()

    def abort(self, request_id: int) -> None:
        """Withdraw a request; the next step reports it. Unknown or finished: no effect."""
        self._scheduler.abort(request_id)

    def has_work(self) -> bool:
        """Whether a step would do or report anything."""
        return self._scheduler.has_work

    def _fresh_scheduler(self) -> Scheduler:
        return Scheduler(Runner(self.model), max_sequences=self.max_sequences)

    def _sequence(
        self, prompt: Prompt, params: SamplingParams, request_id: int, *, streaming: bool
    ) -> Sequence:
        ids = self._prompt_ids(prompt)
        text = AnswerText(self.tokenizer.stream_decoder(), params.stop) if streaming else None
        limit = min(params.max_tokens, self.context_length - len(ids))
        return Sequence(request_id, ids, params, limit=limit, end_ids=self.end_ids, text=text)

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        ids = self.tokenizer.encode_prompt(prompt) if isinstance(prompt, str) else list(prompt)
        if not ids and isinstance(prompt, str):
            # Documents begin after the end of another one: so does text out of nothing.
            start = self.tokenizer.bos_token_id
            ids = [self.tokenizer.eos_token_id if start is None else start]
        if not ids:
            raise LmwrightError("the prompt is empty: there is nothing to continue")
        if len(ids) >= self.context_length:
            raise LmwrightError(
                f"the prompt has {len(ids)} tokens; this model reads at most "
                f"{self.context_length} (max_position_embeddings), the answer's included",
                hint="shorten the prompt, or leave out earlier turns",
            )
        last = self.model.config.vocab_size - 1
        if min(ids) < 0 or max(ids) > last:
            raise LmwrightError(
                f"the prompt has token ids outside of this model's vocabulary, 0 .. {last}",
                hint="encode it with the tokenizer of this model's folder",
            )
        return ids

    def _completion(self, sequence: Sequence) -> Completion:
        _raise_if_failed(sequence.error)
        reason = sequence.finish_reason
        assert reason is not None, "an unfinished sequence"
        if sequence.text is not None:
            text = sequence.text.text
        else:
            ids = sequence.token_ids
            ended = bool(ids) and ids[-1] in sequence.end_ids
            text = self.tokenizer.decode(ids[:-1] if ended else ids)
        logprobs = sequence.logprobs if sequence.params.logprobs else None
        return Completion(text, sequence.token_ids, logprobs, reason)


def _raise_if_failed(error: str | None) -> None:
    if error is not None:
        raise LmwrightError(f"generation failed: {error}")


def _as_ids(value: int | Items[int] | None) -> tuple[int, ...]:
    """A config's token id, ids, or none, as ids."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def _generation_end_ids(path: Path) -> frozenset[int]:
    """The end tokens that a folder's `generation_config.json` names, if it has one."""
    if not path.exists():
        return frozenset()
    return frozenset(_as_ids(read_json(path).get("eos_token_id")))
