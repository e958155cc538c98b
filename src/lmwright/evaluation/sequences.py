"""Texts for texts (translations, summaries, answers): a run's models on the same test split."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lmwright import models, tokens
from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json
from lmwright.corpora.catalog import Row
from lmwright.corpora.datasets import Description, read_rows
from lmwright.engine import encoder_decoder
from lmwright.evaluation.commands import SequencesConfig
from lmwright.evaluation.sequence_baselines import NOTES, simplest
from lmwright.evaluation.sequence_scores import scores_of
from lmwright.tokens import examples as encoded
from lmwright.tokens.example_steps import SEQUENCES
from lmwright.tokens.examples import Examples

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun
    from lmwright.tokens.tokenizer import Tokenizer

BATCH = 32
_SHOWN = 600  # characters of a source in the report


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
    task, columns = description.task, SEQUENCES[description.task]
    test = encoded.open(examples, "test").spread(config.rows)
    rows = read_rows(dataset, "test")
    asked = [rows[int(index)] for index in test.rows]
    references = _references(asked, columns[1])
    words = tokens.load(tokenizer)
    systems = [Written(*simplest(task, columns, asked, partial(read_rows, dataset)), 0.0)]
    with run.progress("writing", len(folders)) as progress:
        for name, folder in folders.items():
            systems.append(write(name, folder, test, words, config))
            progress.advance(1, model=name)
    _report(run, task, systems, references)
    shown = _samples(asked[: config.shown], columns, systems, references)
    run.samples("What the models wrote", shown)
    write_json(
        run.output / "evaluation.json",
        {"references": references, "systems": {s.name: s.texts for s in systems}},
    )


def write(
    name: str, folder: Path, test: Examples, words: "Tokenizer", config: SequencesConfig
) -> Written:
    """What one model writes for every source."""
    started = perf_counter()
    model: Any = models.load(folder)
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


def _references(rows: Sequence[Row], target: str) -> list[list[str]]:
    """The right texts of each row: all its summaries where the set has several, else its target.

    As many for each: the first comes again where there are fewer, which changes no score.
    """
    found = []
    for row in rows:
        several = row.get("summaries")
        found.append(several if isinstance(several, list) and several else [row[target]])
    most = max(map(len, found), default=1)
    return [[*known, *[known[0]] * (most - len(known))] for known in found]


def _report(
    run: "StepRun", task: str, systems: Sequence[Written], references: list[list[str]]
) -> None:
    """The table of all systems, and their scores in the summary."""
    rows = []
    found = [scores_of(task, system.texts, references) for system in systems]
    for system, scored in zip(systems, found, strict=True):
        name = system.name
        if system.parameters is None:
            name = re.sub(r"\W+", "_", name).lower()
        run.summarize(**{f"{score.key}_{name}": score.value for score in scored.scores})
        rows.append(
            (
                system.name,
                "-" if system.parameters is None else f"{system.parameters:,}",
                *(score.shown for score in scored.scores),
                f"{len(references) / system.seconds:.1f}" if system.seconds else "-",
            )
        )
    titles = [score.title for score in found[0].scores]
    run.table(
        f"Test split, {len(references)} rows",
        ("system", "parameters", *titles, "texts per second"),
        rows,
        note="; ".join(filter(None, (found[0].note, NOTES[task]))),
    )


def _samples(
    asked: Sequence[Row],
    columns: tuple[str, str],
    systems: Sequence[Written],
    references: list[list[str]],
) -> list[dict[str, str]]:
    """For each row shown the source, what was expected, and what each model wrote."""
    written = [system for system in systems if system.parameters is not None]
    return [
        {"source": _shortened(str(row[columns[0]])), "expected": references[index][0]}
        | {f"written by {system.name}": system.texts[index] for system in written}
        for index, row in enumerate(asked)
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN].rstrip()} ..."
