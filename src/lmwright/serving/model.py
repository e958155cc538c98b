"""The served model, as the engine process has it and as the API process knows it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lmwright.engine.stats import EngineStats

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
