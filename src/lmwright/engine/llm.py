"""The engine's front: open a model, give it prompts, get answers whole or as they grow."""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import torch

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.engine.generation import Generation
from lmwright.engine.native import KeyValues, Weights
from lmwright.engine.opening import RunnerKind, blocks_for, open_runner, usual_blocks
from lmwright.engine.params import SamplingParams
from lmwright.engine.requests import Completion, Prompt, Reader, as_ids, raise_if_failed
from lmwright.engine.runner import PortableRunner
from lmwright.engine.sequence import Event, FinishReason, Sequence
from lmwright.engine.speculation import Proposer
from lmwright.engine.stats import EngineStats
from lmwright.models.locate import find_model
from lmwright.models.transformer import Decoder
from lmwright.tokens.tokenizer import Tokenizer

__all__ = ["LLM", "Completion", "Delta", "Event", "Message", "Prompt", "QueueFull"]

Message = Mapping[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}."""

# Tokens of one pass: enough to keep a machine busy, and its activations stay in tens of megabytes.
MAX_BATCH_TOKENS = 2048


class QueueFull(LmwrightError):
    """More requests wait than the engine accepts; try again when some have finished."""


@dataclass(frozen=True)
class Delta:
    """A piece of an answer that is being generated."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None


@dataclass(frozen=True)
class _Bounds:
    """How much runs at once."""

    max_sequences: int
    max_batch_tokens: int
    prefix_caching: bool
    kv_blocks: int | None
    proposer: Proposer | None

    def __post_init__(self) -> None:
        for name in ("max_sequences", "max_batch_tokens", "kv_blocks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise LmwrightError(f"{name}={value}: it must be at least 1")


class LLM:
    """A model, its tokenizer, and continuous batching over them; used by one thread at a time.

    Args:
        name: run name, run folder, model folder or hub id.
        dtype: compute in this type; None: as the weights are stored.
        max_sequences: most sequences that run at once.
        max_waiting: most requests that `add` lets wait behind them.
        max_waiting_tokens: most tokens of their prompts, unless a single one has more.
        runner: "native": kernels of our own; "portable": PyTorch; "auto": the former where they
            cover the model and the machine.
        weights: how weights lie in memory.
        kv: how keys and values lie in memory; None: the runner's own choice.
        kv_blocks: blocks of keys and values; None: for `max_sequences` whole contexts, as far as
            there is memory. Where they run out, the last of the lowest priority waits again.
        prefix_caching: whether a beginning that prompts share is computed only once.
        max_batch_tokens: most tokens of one pass.
        speculation: guesses tokens that the model then only checks.
        threads: of the native runner; None: its own choice.
        adapters: name -> folder of a LoRA adapter as PEFT saves it; a request names the one it
            wants, and requests with different ones share passes. PyTorch computes them.

    Raises:
        LmwrightError: if there is no such model or adapter, or it cannot be read, or a bound is
            not positive.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        dtype: torch.dtype | None = None,
        max_sequences: int = 32,
        max_waiting: int = 1024,
        max_waiting_tokens: int = 1_000_000,
        runner: RunnerKind = "auto",
        weights: Weights = "as_stored",
        kv: KeyValues | None = None,
        kv_blocks: int | None = None,
        prefix_caching: bool = True,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        speculation: Proposer | None = None,
        threads: int | None = None,
        adapters: Mapping[str, str | Path] | None = None,
    ) -> None:
        from lmwright.compression.weights import load

        bounds = _Bounds(max_sequences, max_batch_tokens, prefix_caching, kv_blocks, speculation)
        folder = find_model(str(name))
        model = load(folder, dtype=dtype)
        model.eval()
        blocks = kv_blocks or usual_blocks(model, max_sequences, kv)
        opened = open_runner(
            model, runner, blocks, weights=weights, kv=kv, threads=threads, adapters=adapters
        )
        self._setup(
            model, tokens.load(folder), bounds, max_waiting, max_waiting_tokens, adapters or ()
        )
        self._live = False
        self._generation = Generation(
            opened,
            max_sequences=max_sequences,
            max_batch_tokens=max_batch_tokens,
            prefix_caching=prefix_caching,
            proposer=speculation,
        )
        self.end_ids |= _generation_end_ids(folder / "generation_config.json")

    @classmethod
    def from_model(
        cls,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        max_sequences: int = 32,
        max_waiting: int = 1024,
        max_waiting_tokens: int = 1_000_000,
        kv_blocks: int | None = None,
        prefix_caching: bool = True,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        speculation: Proposer | None = None,
    ) -> "LLM":
        """Generate with live weights, as they are at each step; for evaluation and rollouts.

        What one call computed is not used by the next. The model's training mode, the gradients'
        state and all global random generators are as they were after every call.
        """
        llm = cls.__new__(cls)
        bounds = _Bounds(max_sequences, max_batch_tokens, prefix_caching, kv_blocks, speculation)
        llm._setup(model, tokenizer, bounds, max_waiting, max_waiting_tokens)
        llm._live = True
        # Between two steps weights may change: nothing that one request computed is another's.
        blocks = kv_blocks or usual_blocks(model, max_sequences, None)
        llm._generation = llm._over_live_weights(blocks, prefix_caching=False)
        return llm

    def _setup(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        bounds: _Bounds,
        max_waiting: int,
        max_waiting_tokens: int,
        adapters: Iterable[str] = (),
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.adapters: tuple[str, ...] = tuple(adapters)
        self.max_sequences = bounds.max_sequences
        self.max_waiting = max_waiting
        self.max_waiting_tokens = max_waiting_tokens
        self._bounds = bounds
        # A chat model ends its turn with one token, a base model its document with another.
        ends = {*as_ids(model.config.eos_token_id), tokenizer.eos_token_id}
        self.end_ids = frozenset(ends | set(as_ids(tokenizer.end_of_turn_id)))
        self._ids = itertools.count()
        self._events: list[Event] = []  # of requests of `add`, to be told by `step`
        self._boxes: dict[int, list[Event]] = {}  # of requests whose callers wait for them

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
        self._finish(self._generation_for(sequences), sequences)
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
        return self._stream(sequence)

    def _stream(self, sequence: Sequence) -> Iterator[Delta]:
        generation = self._generation_for([sequence])
        box = self._boxes[sequence.request_id] = []
        generation.add(sequence)
        try:
            while box or sequence.finish_reason is None:
                if not box:
                    self._advance(generation, paced=True)
                events, box[:] = list(box), []
                for event in events:
                    raise_if_failed(event.error)
                    ids = [] if event.token_id is None else [event.token_id]
                    yield Delta(event.text, ids, event.finish_reason)
        finally:
            generation.abort(sequence.request_id, report=False)
            del self._boxes[sequence.request_id]

    def add(self, prompt: Prompt, params: SamplingParams) -> int:
        """Queue a request for `step`; return its id.

        Raises:
            LmwrightError: if the prompt cannot be answered; no other request is touched.
            QueueFull: if too many requests, or tokens of them, wait already.
        """
        waiting = self._generation.scheduler.waiting
        if len(waiting) >= self.max_waiting:
            raise QueueFull(
                f"{self.max_waiting} requests are waiting already",
                hint="try again when some have finished, or raise max_waiting",
            )
        sequence = self._reader().sequence(prompt, params, next(self._ids), streaming=True)
        tokens_waiting = sum(len(other.ids) for other in waiting)
        if waiting and tokens_waiting + len(sequence.ids) > self.max_waiting_tokens:
            raise QueueFull(
                f"requests with {tokens_waiting} tokens are waiting already",
                hint="try again when some have finished, or raise max_waiting_tokens",
            )
        self._generation.add(sequence)
        return sequence.request_id

    def step(self) -> list[Event]:
        """Give each running request its next token, and read prompts as far as that allows."""
        if not self._events:
            self._advance(self._generation, paced=True)
        events, self._events = self._events, []
        return events

    def abort(self, request_id: int) -> None:
        """Withdraw a request; the next step reports it. Unknown or finished: no effect."""
        self._generation.abort(request_id)

    def has_work(self) -> bool:
        """Whether a step would do or report anything."""
        return bool(self._events) or self._generation.has_work

    def _advance(self, generation: Generation, *, paced: bool) -> None:
        for event in generation.step(paced=paced):
            self._boxes.get(event.request_id, self._events).append(event)

    def _finish(self, generation: Generation, sequences: list[Sequence]) -> None:
        """Run until all of these are finished; others that are under way go on beside them."""
        unread: list[Event] = []  # the sequences themselves remember all that is needed
        self._boxes |= dict.fromkeys([s.request_id for s in sequences], unread)
        for sequence in sequences:
            generation.add(sequence)
        try:
            left = len(sequences)
            while left:
                self._advance(generation, paced=False)
                left -= sum(event.finish_reason is not None for event in unread)
                unread.clear()
        finally:
            for sequence in sequences:
                generation.abort(sequence.request_id, report=False)
                del self._boxes[sequence.request_id]

    def _reader(self) -> Reader:
        vocab_size = self.model.config.vocab_size
        return Reader(self.tokenizer, vocab_size, self.context_length, self.end_ids, self.adapters)

    def _generation_for(self, sequences: list[Sequence]) -> Generation:
        """Where a call's sequences run: with live weights nothing may be left of earlier calls."""
        if not self._live:
            return self._generation
        if self._bounds.kv_blocks is not None:
            return self._over_live_weights(self._bounds.kv_blocks, self._bounds.prefix_caching)
        needs = [blocks_for(len(s.ids) + s.limit) for s in sequences]
        blocks = sum(heapq.nlargest(self.max_sequences, needs))
        return self._over_live_weights(max(blocks, 1), self._bounds.prefix_caching)

    def _over_live_weights(self, blocks: int, prefix_caching: bool) -> Generation:
        return Generation(
            PortableRunner(self.model, blocks, why="live weights"),
            max_sequences=self.max_sequences,
            max_batch_tokens=self._bounds.max_batch_tokens,
            prefix_caching=prefix_caching,
            proposer=self._bounds.proposer,
        )


def _generation_end_ids(path: Path) -> frozenset[int]:
    """The end tokens that a folder's `generation_config.json` names, if it has one."""
    if not path.exists():
        return frozenset()
    return frozenset(as_ids(read_json(path).get("eos_token_id")))
