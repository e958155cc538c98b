"""The served model, as the engine process opens it and as the API process knows it."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.engine.stats import EngineStats
from lmwright.serving.questions import proposed

if TYPE_CHECKING:
    from lmwright.tokens.tokenizer import Tokenizer

Kind = Literal["generation", "embedding"]


class Engine(Protocol):
    """What an engine process drives; `engine.LLM` is one."""

    tokenizer: Any
    max_sequences: int

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""

    def add(self, prompt: str | Sequence[int], params: Any) -> int:
        """Take a request in; returns its id."""

    def step(self) -> Sequence[Any]:
        """Give each running request its next token, as `engine.Event`s."""

    def abort(self, request_id: int) -> None:
        """Withdraw a request; unknown ids are fine."""

    def has_work(self) -> bool:
        """Whether a step would do or report anything."""

    def stats(self) -> EngineStats:
        """Counts of what it holds and has done."""


@dataclass(frozen=True)
class Sampling:
    """What a request gets that does not say how to sample."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    @classmethod
    def of(cls, generation: dict[str, Any]) -> "Sampling":
        """What a `generation_config.json` recommends; greedy unless it says `do_sample`."""
        if not generation.get("do_sample"):
            return cls()
        return cls(
            temperature=float(generation.get("temperature") or 1.0),
            top_p=float(generation.get("top_p") or 1.0),
            top_k=int(generation.get("top_k") or 0),
        )


@dataclass(frozen=True)
class Served:
    """A loaded model, as the API process knows it; the model itself is in another process.

    Args:
        tokenizer: a `tokens.Tokenizer`; the API process renders, encodes and spells with it.
        context_length: most tokens of prompt and answer together; of an embedder, of a text.
        kind: "generation", or "embedding" for a model that answers /v1/embeddings and nothing else.
        max_sequences: most answers that are generated at once.
        sampling: for requests that do not say.
        chats: whether it was trained to answer turns, or only continues text.
        parameters: how many weights it has; None where unknown.
        questions: what the page proposes to ask it.
        adapters: names of its adapters, for `SamplingParams.adapter`.
        runner: one line on what computes, for the log.
    """

    tokenizer: "Tokenizer"
    context_length: int
    kind: Kind = "generation"
    max_sequences: int = 16
    sampling: Sampling = Sampling()
    chats: bool = True
    parameters: int | None = None
    questions: Sequence[str] = ()
    adapters: Sequence[str] = ()
    runner: str = ""

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], tokenizer: Any) -> "Served":
        """What `Loaded.facts` said in the other process."""
        return cls(tokenizer, **{**facts, "sampling": Sampling(**facts["sampling"])})

    def embedding_ids(self, text: str) -> list[int]:
        """Ids of a text as an embedder reads it, special tokens included; not cut.

        Raises:
            LmwrightError: if the text is not Unicode.
        """
        from lmwright.tokens.encoding import framed

        return framed(self.tokenizer, text).input_ids


@dataclass(frozen=True)
class Loaded:
    """A loaded model, in the engine process; arguments as `Served`'s.

    Args:
        engine: generates, or embeds.
    """

    engine: Engine
    sampling: Sampling = Sampling()
    chats: bool = True
    parameters: int | None = None
    questions: Sequence[str] = ()
    adapters: Sequence[str] = ()
    kind: Kind = "generation"
    runner: str = ""

    def facts(self) -> dict[str, Any]:
        """All but the engine, as JSON has it; `Served.from_facts` reads it."""
        return {
            "context_length": self.engine.context_length,
            "kind": self.kind,
            "max_sequences": self.engine.max_sequences,
            "sampling": asdict(self.sampling),
            "chats": self.chats,
            "parameters": self.parameters,
            "questions": list(self.questions),
            "adapters": list(self.adapters),
            "runner": self.runner,
        }


@dataclass(frozen=True)
class EngineOptions:
    """How an engine process opens its model.

    Args:
        model: a run, a run folder, a model folder or a hub id.
        max_sequences: most answers generated at once.
        max_waiting: most answers that wait; the API process refuses beyond its own limits, which
            must not be larger.
        threads: that compute; None: one for each core.
        weights: as_stored, fp32, bf16, int8 or int4; None: the engine's own choice.
        runner: auto, native or portable; None: the engine's own choice.
        adapters: name -> folder of a LoRA adapter.
    """

    model: str
    max_sequences: int = 16
    max_waiting: int = 64
    threads: int | None = None
    weights: str | None = None
    runner: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """For the command line of the engine process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "EngineOptions":
        """What `to_json` wrote."""
        return cls(**json.loads(text))

    def given(self) -> dict[str, Any]:
        """The arguments of `engine.LLM` that were given and not left to it."""
        values = {"weights": self.weights, "runner": self.runner}
        return {name: value for name, value in values.items() if value is not None}


def load(options: EngineOptions, found: Callable[[Path], None] = lambda folder: None) -> Loaded:
    """Open the model; in the engine process, for torch is imported here.

    Args:
        options: what and how.
        found: told the model's folder before the slow part begins.

    Raises:
        LmwrightError: if there is no such model, or it cannot be read.
    """
    # Here and not above: a wrong name is told before torch is imported, which takes seconds.
    from lmwright.models.locate import find_model

    folder = find_model(options.model)
    found(folder)
    if _embeds(folder):
        return _load_embedder(folder, options)
    return _load_generator(folder, options)


def _embeds(folder: Path) -> bool:
    """Whether the folder says that its model was published to give vectors of texts."""
    from lmwright.models import sentence_folder
    from lmwright.models.families import OWN_HEAD

    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise LmwrightError(f"{folder / 'config.json'} is not a JSON object")
    head = sentence_folder.with_head(folder, config, None).get(OWN_HEAD)
    return isinstance(head, dict) and head.get("task") == "embedding"


def _load_generator(folder: Path, options: EngineOptions) -> Loaded:
    from lmwright.engine.llm import LLM

    engine = LLM(
        folder,
        max_sequences=options.max_sequences,
        max_waiting=options.max_waiting,
        # The API process bounds them, and tells whom it refuses to come again.
        max_waiting_tokens=sys.maxsize,
        threads=options.threads,
        adapters=options.adapters,
        **options.given(),
    )
    file = folder / "generation_config.json"
    generation = read_json(file) if file.exists() else {}
    if not isinstance(generation, dict):
        raise LmwrightError(f"{file} is not a JSON object")
    return Loaded(
        engine=engine,
        sampling=Sampling.of(generation),
        chats=_chats(engine.tokenizer, generation, engine.model.config.eos_token_id),
        parameters=sum(weight.numel() for weight in engine.model.parameters()),
        questions=proposed(folder),
        adapters=engine.adapters,
        runner=engine.describe(),
    )


def _load_embedder(folder: Path, options: EngineOptions) -> Loaded:
    from lmwright import models, tokens
    from lmwright.serving.vectors import VectorEngine

    if options.weights not in (None, "as_stored"):
        raise LmwrightError(
            f"--weights {options.weights}: {folder} gives vectors, with its weights as stored"
        )
    if options.adapters:
        raise LmwrightError(f"--adapter: {folder} gives vectors, and adapters are for text")
    model = models.load(folder, task="embedding")
    engine = VectorEngine(model, tokens.load(folder))
    parameters = sum(weight.numel() for weight in model.parameters())
    return Loaded(engine=engine, chats=False, parameters=parameters, kind="embedding")


def _chats(tokenizer: Any, generation: dict[str, Any], eos: object) -> bool:
    """Whether a model ends its answers the way the chat template ends a turn.

    A base model may carry a chat template (its tokenizer was made with one); what it was never
    taught is to end a turn.
    """
    if tokenizer.chat_template is None:
        return False
    end = tokenizer.end_of_turn_id
    ends = generation.get("eos_token_id", eos)
    return end is None or end == ends or (isinstance(ends, (list, tuple)) and end in ends)
