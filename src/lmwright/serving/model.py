"""The served model: the engine, how it wants to be sampled, and what the page says about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.serving.questions import proposed


class Engine(Protocol):
    """What the worker drives; `engine.LLM` is one."""

    tokenizer: Any
    max_sequences: int

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""

    @property
    def running(self) -> int:
        """Requests that `step` is generating for."""

    def add(self, prompt: str | Sequence[int], params: Any) -> int:
        """Take a request in; returns its id."""

    def step(self) -> Sequence[Any]:
        """Give each running request its next token, as `engine.Event`s."""

    def abort(self, request_id: int) -> None:
        """Withdraw a request; unknown ids are fine."""

    def has_work(self) -> bool:
        """Whether a step would do or report anything."""


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
    """A loaded model.

    Args:
        engine: generates.
        sampling: for requests that do not say.
        chats: whether it was trained to answer turns, or only continues text.
        parameters: how many weights it has; None where unknown.
        questions: what the page proposes to ask it.
    """

    engine: Engine
    sampling: Sampling = Sampling()
    chats: bool = True
    parameters: int | None = None
    questions: Sequence[str] = ()


def load(name: str, *, max_sequences: int, max_waiting: int) -> Served:
    """Open a run, a run folder, a model folder or a hub id.

    Raises:
        LmwrightError: if there is no such model, or it cannot be read.
    """
    # Here and not above: a wrong name is told before torch is imported, which takes seconds.
    from lmwright.models.locate import find_model

    folder = find_model(name)
    from lmwright.engine.llm import LLM

    engine = LLM(folder, max_sequences=max_sequences, max_waiting=max_waiting)
    file = folder / "generation_config.json"
    generation = read_json(file) if file.exists() else {}
    if not isinstance(generation, dict):
        raise LmwrightError(f"{file} is not a JSON object")
    return Served(
        engine=engine,
        sampling=Sampling.of(generation),
        chats=_chats(engine.tokenizer, generation, engine.model.config.eos_token_id),
        parameters=sum(weight.numel() for weight in engine.model.parameters()),
        questions=proposed(folder),
    )


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
