"""Opening the model that is served: how the command line wants it, and as what it is published."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.engine.native import KeyValues, Weights
from lmwright.serving import drafts
from lmwright.serving.model import Loaded, Sampling
from lmwright.serving.questions import proposed

if TYPE_CHECKING:
    from lmwright.engine.opening import RunnerKind
    from lmwright.engine.speculation import Proposer


@dataclass(frozen=True)
class EngineOptions:
    """How an engine process opens its model.

    Args:
        model: a run, a run folder, a model folder or a hub id.
        max_sequences: most answers generated at once.
        max_waiting: most answers that wait; the API process refuses beyond its own limits, which
            must not be larger.
        threads: that compute; None: one for each core.
        device: where the model lies and runs, as `engine.LLM` takes it; None: on the CPU.
        weights: as_stored, fp32, bf16, int8, int4 or fp8; None: the engine's own choice.
        runner: auto, native or portable; None: the engine's own choice.
        adapters: name -> folder of a LoRA adapter.
        kv: how keys and values are kept, fp32, bf16, int8 or fp8; None: the runner's own choice.
        kv_blocks: blocks of keys and values; None: for whole contexts, as far as there is memory.
        prefix_caching: whether a beginning that prompts share is computed only once.
        draft: what guesses ahead, `drafts.NGRAM` or a smaller model; None: nothing.
        draft_tokens: most tokens guessed for an answer at a time; None: the engine's own choice.
    """

    model: str
    max_sequences: int = 16
    max_waiting: int = 64
    threads: int | None = None
    device: str | None = None
    weights: Weights | None = None
    runner: "RunnerKind | None" = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    kv: KeyValues | None = None
    kv_blocks: int | None = None
    prefix_caching: bool = True
    draft: str | None = None
    draft_tokens: int | None = None

    def to_json(self) -> str:
        """For the command line of the engine process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "EngineOptions":
        """What `to_json` wrote."""
        return cls(**json.loads(text))

    def given(self) -> dict[str, Any]:
        """The arguments of `engine.LLM` that were given and not left to it."""
        values = {
            "device": self.device,
            "weights": self.weights,
            "runner": self.runner,
            "kv": self.kv,
            "kv_blocks": self.kv_blocks,
            "most_drafts": self.draft_tokens,
        }
        return {name: value for name, value in values.items() if value is not None}

    def for_text(self) -> list[str]:
        """Options that were given and are only for models that write text."""
        asked = {
            "--device": self.device not in (None, "cpu"),
            "--weights": self.weights not in (None, "as_stored"),
            "--adapter": self.adapters,
            "--kv-type": self.kv,
            "--kv-blocks": self.kv_blocks,
            "--no-prefix-caching": not self.prefix_caching,
            "--draft": self.draft,
        }
        return [option for option, given in asked.items() if given]


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

    if options.draft is not None:
        drafts.check(options.draft, str(folder))  # once more: the model may have been swapped
    engine = LLM(
        folder,
        max_sequences=options.max_sequences,
        max_waiting=options.max_waiting,
        # The API process bounds them, and tells whom it refuses to come again.
        max_waiting_tokens=sys.maxsize,
        threads=options.threads,
        adapters=options.adapters,
        prefix_caching=options.prefix_caching,
        speculation=_proposer(options),
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
        runner=engine.describe() + (f", drafts by {options.draft}" if options.draft else ""),
    )


def _proposer(options: EngineOptions) -> "Proposer | None":
    if options.draft is None:
        return None
    return drafts.open_proposer(
        options.draft,
        max_sequences=options.max_sequences,
        device=options.device or "cpu",
        # Insisting on the native kernels is about the model that answers.
        runner="portable" if options.runner == "portable" else "auto",
        weights=options.weights or "as_stored",
        kv=options.kv,
        threads=options.threads,
    )


def _load_embedder(folder: Path, options: EngineOptions) -> Loaded:
    from lmwright import models, tokens
    from lmwright.serving.vectors import VectorEngine

    if asked := options.for_text():
        raise LmwrightError(
            f"{asked[0]}: {folder} gives vectors, and {asked[0]} is for models that write text"
        )
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
