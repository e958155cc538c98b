"""Texts written for texts (translations, summaries): a run's models on the same test split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json
from lmwright.corpora.datasets import Description, read_rows
from lmwright.engine import encoder_decoder
from lmwright.evaluation.commands import SequencesConfig
from lmwright.metrics.translation import bleu, chrf
from lmwright.tokens import examples as encoded
from lmwright.tokens.example_steps import SEQUENCES
from lmwright.tokens.examples import Examples
from lmwright.training import task_models

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun
    from lmwright.tokens.tokenizer import Tokenizer

BATCH = 32
_LEAD = 3  # sentences or turns of the input that the simplest of all summaries keeps


@dataclass(frozen=True)
class Written:
    """What one system wrote.

    Args:
        name: of the system.
        texts: one for each row.
        seconds: that it took.
        parameters: of a model; None: it is none.
    """

    name: str
    texts: list[str]
    seconds: float
    parameters: int | None = None


def evaluate(
    config: SequencesConfig,
    run: "StepRun",
    *,
    dataset: Path,
    examples: Path,
    tokenizer: Path,
    **trained: Path | None,
) -> None:
    """Let every model write the test split's targets; score them; write evaluation.json.

    Args:
        config: how many rows, how the search is done.
        run: the step's run; gets the table, samples and the summary.
        dataset: its rows.
        examples: the same, encoded.
        tokenizer: of the targets.
        trained: models' folders by the names of their steps.

    Raises:
        LmwrightError: if there is no model, or the dataset's answers are no texts.
    """
    folders = {name: folder for name, folder in trained.items() if folder is not None}
    description = Description.read(dataset)
    if description.task not in SEQUENCES:
        raise LmwrightError(
            f"{run.name} scores {' and '.join(SEQUENCES)}; dataset {description.name} is for "
            f"{description.task}"
        )
    if not folders:
        raise LmwrightError(f"step {run.name} has no model to evaluate")
    source, target = SEQUENCES[description.task]
    test = encoded.open(examples, "test").spread(config.rows)
    rows = read_rows(dataset, "test")
    asked = [rows[int(index)] for index in test.rows]
    references = [_references(row[target]) for row in asked]
    words = tokens.load(tokenizer)
    systems = [_simplest(description.task, [row[source] for row in asked])]
    with run.progress("writing", len(folders)) as task:
        for name, folder in folders.items():
            systems.append(write(name, folder, test, words, config))
            task.advance(1, model=name)
    _report(run, systems, references)
    best = systems[-1]
    run.samples(
        f"Written by {best.name}",
        [
            {"source": row[source], "written": text, "expected": expected[0]}
            for row, text, expected in list(zip(asked, best.texts, references, strict=True))[
                : config.shown
            ]
        ],
    )
    write_json(
        run.output / "evaluation.json",
        {"references": references, "systems": {s.name: s.texts for s in systems}},
    )


def write(
    name: str, folder: Path, test: Examples, words: "Tokenizer", config: SequencesConfig
) -> Written:
    """What one model writes for every source."""
    started = perf_counter()
    model: Any = task_models.load_model(folder)
    texts = [""] * len(test)
    # Sources of about one length share a batch: little is computed for padding.
    order = np.argsort(test.lengths, kind="stable")
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        batch = test.batch(chosen)
        found = encoder_decoder.generate(
            model,
            batch.input_ids,
            batch.attention_mask,
            max_tokens=config.most_tokens,
            beams=config.beams,
            length_penalty=config.length_penalty,
        )
        for index, ids in zip(chosen, found, strict=True):
            texts[index] = words.decode(ids).strip()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Written(name, texts, perf_counter() - started, parameters)


def _simplest(task: str, sources: Sequence[str]) -> Written:
    """What needs no model: the source itself, or how it begins."""
    if task == "translation":
        return Written("the source, copied", list(sources), 0.0)
    first = ["\n".join(source.splitlines()[:_LEAD]) for source in sources]
    return Written(f"the first {_LEAD} turns", first, 0.0)


def _references(target: str | Sequence[str]) -> list[str]:
    return [target] if isinstance(target, str) else list(target)


def _report(run: "StepRun", systems: list[Written], references: list[list[str]]) -> None:
    rows, signature = [], ""
    for system in systems:
        score = bleu(system.texts, references)
        characters = chrf(system.texts, references)
        signature = f"BLEU {score.signature}; chrF {characters.signature}"
        rows.append(
            (
                system.name,
                "-" if system.parameters is None else f"{system.parameters:,}",
                f"{score.value:.1f}",
                f"{characters.value:.1f}",
                f"{len(references) / system.seconds:.1f}" if system.seconds else "-",
            )
        )
        if system.parameters is not None:
            run.summarize(**{f"bleu_{system.name}": round(score.value, 2)})
            run.summarize(**{f"chrf_{system.name}": round(characters.value, 2)})
    columns = ("system", "parameters", "BLEU", "chrF2", "texts per second")
    run.table(f"Test split, {len(references)} rows", columns, rows, note=signature)
