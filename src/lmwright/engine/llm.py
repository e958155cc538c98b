"""The engine's front: open a model, give it prompts, get answers whole or as they grow."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Unpack

import torch

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.engine.beam_search import continue_text
from lmwright.engine.bounds import Bounds, BoundsGiven, QueueFull
from lmwright.engine.callers import Callers, Delta
from lmwright.engine.generation import Generation
from lmwright.engine.native import KeyValues, Weights
from lmwright.engine.opening import (
    RunnerKind,
    check_blocks,
    device_named,
    open_runner,
    usual_blocks,
)
from lmwright.engine.params import SamplingParams
from lmwright.engine.requests import Completion, Prompt, Reader, end_ids, folder_end_ids
from lmwright.engine.runner import generating
from lmwright.engine.sequence import Event, FinishReason, Sequence
from lmwright.engine.stats import EngineStats
from lmwright.models.locate import find_model
from lmwright.models.transformer import Decoder
from lmwright.tokens.tokenizer import Tokenizer

__all__ = ["LLM", "Completion", "Delta", "Event", "Message", "Prompt", "QueueFull"]

Message = Mapping[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}."""


class LLM:
    """A model, its tokenizer, and continuous batching over them; used by one thread at a time.

    Args:
        name: run name, run folder, model folder or hub id.
        dtype: compute in this type; None: as the weights are stored.
        device: where the model lies and runs: "cpu", "cuda", or "cuda:1" for the second GPU.
        runner: "native": kernels of our own; "portable": PyTorch; "auto": the former where they
            cover the model and the machine.
        weights: how weights lie in memory.
        kv: how keys and values lie in memory; None: the runner's own choice.
        threads: of the native runner; None: its own choice.
        adapters: name -> folder of a LoRA adapter as PEFT saves it; a request names the one it
            wants, and requests with different ones share passes. PyTorch computes them.
        bounds: how much it takes in and how much runs at once: the arguments of `bounds.Bounds`.

    Raises:
        LmwrightError: if there is no such model or adapter, or it cannot be read, or a bound is
            not positive, or there is no memory for so many blocks, or no such device.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
        runner: RunnerKind = "auto",
        weights: Weights = "as_stored",
        kv: KeyValues | None = None,
        threads: int | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        **bounds: Unpack[BoundsGiven],
    ) -> None:
        from lmwright.compression.weights import load

        limits, place = Bounds(**bounds), device_named(device)
        folder = find_model(str(name))
        model = load(folder, dtype=dtype)
        model.eval().to(place)
        if limits.kv_blocks is not None:
            check_blocks(model, limits.kv_blocks, kv)
        blocks = limits.kv_blocks or usual_blocks(model, limits.max_sequences, kv)
        opened = open_runner(
            model,
            runner,
            blocks,
            weights=weights,
            kv=kv,
            threads=threads,
            max_sequences=limits.max_sequences,
            adapters=adapters,
        )
        self._setup(model, tokens.load(folder), limits, adapters or ())
        self.end_ids |= folder_end_ids(folder)
        self._live = False
        self._generation = limits.generation(opened, prefix_caching=limits.prefix_caching)

    @classmethod
    def from_model(
        cls, model: Decoder, tokenizer: Tokenizer, **bounds: Unpack[BoundsGiven]
    ) -> "LLM":
        """Generate with live weights, as they are at each step; for evaluation and rollouts.

        What one call computed is not used by the next. The model's training mode, the gradients'
        state and all global random generators are as they were after every call.
        """
        llm = cls.__new__(cls)
        limits = Bounds(**bounds)
        llm._setup(model, tokenizer, limits)
        llm._live = True
        llm._generation = limits.live_generation(model)
        return llm

    def _setup(
        self, model: Decoder, tokenizer: Tokenizer, bounds: Bounds, adapters: Iterable[str] = ()
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.adapters: tuple[str, ...] = tuple(adapters)
        self.max_sequences = bounds.max_sequences
        self._bounds = bounds
        self.end_ids = end_ids(model.config, tokenizer)
        self._ids = itertools.count()
        self._callers = Callers()

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        most = self.model.config.max_position_embeddings
        if self._live and self._bounds.kv_blocks is None:
            return most  # each call has a cache of its own, as large as it needs
        runner = self._generation.runner
        return min(most, runner.num_blocks * runner.block_size)

    @property
    def running(self) -> int:
        """Requests that `step` is reading or answering."""
        return len(self._generation.scheduler.running)

    @property
    def waiting(self) -> int:
        """Requests that have not joined yet."""
        return len(self._generation.scheduler.waiting)

    def stats(self) -> EngineStats:
        """What was done so far; of a model with live weights, by `add` and `step` alone."""
        return self._generation.stats()

    def describe(self) -> str:
        """One line on what computes."""
        return self._generation.runner.describe()

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
        reader = self._reader()
        sequences = [
            # Text is decoded once at the end unless a stop string has to be watched for.
            reader.sequence(prompt, p, next(self._ids), streaming=bool(p.stop))
            for prompt, p in zip(prompts, each, strict=True)
        ]
        self._callers.finish(self._generation_for(sequences), sequences)
        return [reader.completion(sequence) for sequence in sequences]

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
        sequence = self._reader().sequence(prompt, params, next(self._ids), streaming=True)
        return self._callers.stream(self._generation_for([sequence]), sequence)

    def beam_search(
        self, prompt: Prompt, *, beams: int = 4, max_tokens: int = 128, length_penalty: float = 0.0
    ) -> Completion:
        """The best answer that `beams` candidates at a time lead to.

        PyTorch computes it, with the weights of `model`, in memory of its own and without adapters.

        Args:
            prompt: text, or token ids.
            beams: candidates that are followed at once.
            max_tokens: of the answer at most.
            length_penalty: alpha of `beam_search.penalty`, at least 0; larger: longer answers.

        Returns:
            Its `token_ids` are without the token that ended it.

        Raises:
            LmwrightError: as `generate`, or if a setting is out of range.
        """
        params = SamplingParams(max_tokens=max_tokens)
        start = self._reader().sequence(prompt, params, next(self._ids), streaming=False)
        with generating(self.model):
            ids = continue_text(
                self.model,
                start.prompt_ids,
                end_ids=sorted(self.end_ids),
                max_tokens=start.limit,
                beams=beams,
                length_penalty=length_penalty,
            )
        reason: FinishReason = "length" if len(ids) == start.limit else "stop"
        return Completion(self.tokenizer.decode(ids), ids, None, reason)

    def add(self, prompt: Prompt, params: SamplingParams) -> int:
        """Queue a request for `step`; return its id.

        Raises:
            LmwrightError: if the prompt cannot be answered; no other request is touched.
            QueueFull: if too many requests, or tokens of them, wait already.
        """
        waiting = self._generation.scheduler.waiting
        self._bounds.check_queue(waiting)
        sequence = self._reader().sequence(prompt, params, next(self._ids), streaming=True)
        self._bounds.check_queue(waiting, len(sequence.ids))
        self._generation.add(sequence)
        return sequence.request_id

    def step(self, *, paced: bool = True) -> list[Event]:
        """Give each running request its next token, and read prompts as far as that allows.

        Args:
            paced: whether prompts are read in chunks so small that running answers do not stall;
                else a pass is filled with them, which reads them sooner.
        """
        return self._callers.step(self._generation, paced=paced)

    def abort(self, request_id: int) -> None:
        """Withdraw a request; the next step reports it. Unknown or finished: no effect."""
        self._generation.abort(request_id)

    def has_work(self) -> bool:
        """Whether a step would do or report anything."""
        return self._callers.unread or self._generation.has_work

    def _reader(self) -> Reader:
        vocab_size = self.model.config.vocab_size
        return Reader(self.tokenizer, vocab_size, self.context_length, self.end_ids, self.adapters)

    def _generation_for(self, sequences: list[Sequence]) -> Generation:
        """Where a call's sequences run: with live weights nothing may be left of earlier calls."""
        if not self._live:
            return self._generation
        return self._bounds.live_generation(self.model, sequences)
