"""Guessing ahead while serving: what `--draft` may name, and what then guesses."""

from pathlib import Path
from typing import TYPE_CHECKING

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.engine.native import KeyValues, Weights

if TYPE_CHECKING:
    from lmwright.engine.opening import RunnerKind
    from lmwright.engine.speculation import Proposer

NGRAM = "ngram"
"""Guess what followed the same words before; anything else is the name of a smaller model."""


def check(draft: str, model: str) -> None:
    """Make sure that a draft can guess for a model, before anything expensive is loaded.

    Args:
        draft: `NGRAM`, or a run, a run folder, a model folder or a hub id.
        model: that it shall guess for, named as a draft model is.

    Raises:
        LmwrightError: if there is no such model, or the two have different vocabularies.
    """
    if draft == NGRAM:
        return
    # Here and not above: only a draft model needs it.
    from lmwright.models.locate import find_model

    folder = find_model(model, weights=False)
    try:
        smaller = find_model(draft, weights=False)
    except LmwrightError as error:
        raise LmwrightError(f"--draft {draft}: {error.what}", hint=error.hint) from error
    if not _same_vocabulary(folder, smaller):
        raise LmwrightError(
            f"--draft {draft}: its tokens are not those of {model}, so it cannot guess them",
            hint=f"name a model with the same tokenizer, or guess without one: --draft {NGRAM}",
        )


def _same_vocabulary(first: Path, second: Path) -> bool:
    """Whether each token id is the same text to both, and neither has ids that the other lacks."""
    from lmwright import tokens

    sizes = [read_json(folder / "config.json").get("vocab_size") for folder in (first, second)]
    ours, theirs = tokens.load(first), tokens.load(second)
    return sizes[0] == sizes[1] and ours.token_bytes == theirs.token_bytes


def open_proposer(
    draft: str,
    *,
    max_sequences: int,
    device: str,
    runner: "RunnerKind",
    weights: Weights,
    kv: KeyValues | None,
    threads: int | None,
) -> "Proposer":
    """What guesses; in the engine process, for torch is imported here.

    Args:
        draft: as for `check`, which has been called.
        max_sequences: how many are guessed for at once; a draft model keeps blocks for them all.
        device, runner, weights, kv, threads: of a draft model, as `engine.LLM` takes them.

    Raises:
        LmwrightError: if a draft model cannot be read, or is none that the engine runs.
    """
    from lmwright.compression.weights import load
    from lmwright.engine.opening import device_named, open_runner, usual_blocks
    from lmwright.engine.speculation import DraftModelProposer, NgramProposer
    from lmwright.models.locate import find_model

    if draft == NGRAM:
        return NgramProposer()
    try:
        model = load(find_model(draft)).eval().to(device_named(device))
        blocks = usual_blocks(model, max_sequences, kv)
        opened = open_runner(
            model,
            runner,
            blocks,
            weights=weights,
            kv=kv,
            threads=threads,
            max_sequences=max_sequences,
        )
    except LmwrightError as error:
        raise LmwrightError(f"--draft {draft}: {error.what}", hint=error.hint) from error
    return DraftModelProposer(opened, model.config.max_position_embeddings)
