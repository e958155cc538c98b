"""The step that turns a source into a corpus folder: `text/`, `chats/`, `preferences/`, ..."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, write_json
from lmwright.corpora import catalog, question_chats
from lmwright.corpora.commands import CATALOG, PYTHON_DOCS, BuildConfig
from lmwright.corpora.made_up import Part
from lmwright.corpora.python_names import DocumentedName, documented_names
from lmwright.corpora.python_text import python_documents
from lmwright.corpora.readers import read_records, record_kinds
from lmwright.corpora.records import RecordKind
from lmwright.corpora.sources import find_files
from lmwright.corpora.splits import SplitWriter
from lmwright.corpora.texts import cut

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

_ALL_KINDS: frozenset[RecordKind] = frozenset({"text", "chats", "preferences", "questions"})
_LEAST_NAMES = 150  # fewer, and wrong attributes find no owners to be put on
_SHOWN_CHATS = 6
_MOST_VALIDATION_CHATS = 1000  # enough for a loss; every evaluation during training reads them


def kinds(config: BuildConfig) -> set[RecordKind]:
    """Kinds of records that the source will give: known before anything is built.

    Raises:
        LmwrightError: if the source is missing, empty, binary, or of an unknown shape.
    """
    if config.path == PYTHON_DOCS:
        return set(_ALL_KINDS)
    if config.path.startswith(CATALOG) and not _is_here(config):
        return {"text"}  # a plan can be looked at without the data; building says what is missing
    return record_kinds(source_of(config), text_column=config.text_column)


def reads(config: BuildConfig) -> list[Path]:
    """The user's files, whose content decides whether the corpus must be built again."""
    if config.path == PYTHON_DOCS:
        return []
    if config.path.startswith(CATALOG) and not _is_here(config):
        return []
    return sorted({source.path for source in find_files(source_of(config), None)})


def _is_here(config: BuildConfig) -> bool:
    """Whether the files of a set of the catalogue are on this machine."""
    dataset = catalog.find(config.path.removeprefix(CATALOG))
    try:
        catalog.official_files(dataset)
    except LmwrightError:
        return False
    return True


def source_of(config: BuildConfig) -> str:
    """The user's file, folder or pattern; of `catalog:NAME`, the official files of that set.

    Raises:
        LmwrightError: if there is no such set, or its files are not here.
    """
    if not config.path.startswith(CATALOG):
        return config.path
    dataset = catalog.find(config.path.removeprefix(CATALOG))
    if not dataset.files:
        raise LmwrightError(
            f"dataset {dataset.name} has no files to read text from",
            hint=f"read its rows with corpora.dataset; or build {PYTHON_DOCS}",
        )
    files = catalog.official_files(dataset)
    return str(files[0] if len(files) == 1 else Path(os.path.commonpath(files)))


def build(config: BuildConfig, run: "StepRun") -> None:
    """Write the corpus into `run.output`.

    The folder holds `corpus.json` (source, kinds, counts), and per kind `train.jsonl` and
    `validation.jsonl` (`questions/`: `validation`, `test` and `paraphrase`).

    Raises:
        LmwrightError: if the source is missing, empty, malformed, or too small to be split.
    """
    with disk_errors(run.output):
        if config.path == PYTHON_DOCS:
            _build_python_docs(config, run)
        else:
            _build_from_files(config, run)


def _build_from_files(config: BuildConfig, run: "StepRun") -> None:
    writers: dict[RecordKind, SplitWriter] = {}
    questions = 0
    with contextlib.ExitStack() as stack, run.progress(f"reading {config.path}") as task:
        for record in read_records(
            source_of(config),
            run.note,
            characters=config.document_characters,
            text_column=config.text_column,
        ):
            kind = record.kind
            if kind not in writers:
                writer = SplitWriter(run.output / kind, kind, config.validation_fraction)
                writers[kind] = stack.enter_context(writer)
            writers[kind].write(record.row)
            task.advance()
        for writer in writers.values():
            writer.balance()
    # Questions are only ever asked: their training half is the test.
    if "questions" in writers:
        folder = run.output / "questions"
        (folder / "train.jsonl").rename(folder / "test.jsonl")
        questions = sum(writers["questions"].counts.values())
    _finish(config, run, writers, {"documented_names": 0, "questions": questions})


def _build_python_docs(config: BuildConfig, run: "StepRun") -> None:
    names = documented_names(config.names)
    if len(names) < _LEAST_NAMES:
        raise LmwrightError(f"this Python documents {len(names)} names, too few to learn from")
    if len(names) < config.names:
        run.note(f"this Python documents {len(names):,} names; {config.names:,} were asked for")
    writers: dict[RecordKind, SplitWriter] = {}
    with contextlib.ExitStack() as stack:
        for kind in ("text", "chats", "preferences"):
            writer = SplitWriter(run.output / kind, kind, config.validation_fraction)
            writers[kind] = stack.enter_context(writer)
        with run.progress("documentation and source", None) as task:
            for row, group in _python_texts(config):
                writers["text"].write(row, group=group)
                task.advance()
        writers["text"].balance()
        with run.progress("chats", config.chats) as task:
            for chat in question_chats.training_chats(
                names,
                config.chats,
                made_up_share=config.made_up_share,
                two_turn_share=config.two_turn_share,
                small_talk_share=config.small_talk_share,
                seed=config.seed,
            ):
                writers["chats"].write_to("train", chat)
                task.advance()
        _write_held_out(config, names, writers)
    counts = _write_questions(config, names, run)
    _finish(config, run, writers, {"documented_names": len(names), "questions": counts})


def _python_texts(config: BuildConfig) -> Iterable[tuple[dict[str, str], str | None]]:
    seen: set[str] = set()
    for document in python_documents(config.text_characters):
        for piece in cut(document.text, config.document_characters):
            # The same licence or empty package stands in many files; once is enough, and a copy
            # must not lie on both sides of the split.
            if piece not in seen:
                seen.add(piece)
                yield {"text": piece, "source": document.source}, document.group


def _write_held_out(
    config: BuildConfig,
    names: Sequence[DocumentedName],
    writers: Mapping[RecordKind, SplitWriter],
) -> None:
    """Validation chats, and the preference pairs of both parts."""
    share = config.validation_fraction
    held_out = min(round(config.chats * share), _MOST_VALIDATION_CHATS) or 1
    for chat in question_chats.validation_chats(
        names, held_out, made_up_share=config.made_up_share, seed=config.seed
    ):
        writers["chats"].write_to("validation", chat)
    pairs = max(round(config.preference_pairs * share), 1)
    plan: tuple[tuple[str, Part, int], ...] = (
        ("train", "training", config.preference_pairs - pairs),
        ("validation", "validation", pairs),
    )
    for part, names_part, number in plan:
        for pair in question_chats.preference_pairs(names, names_part, number, seed=config.seed):
            writers["preferences"].write_to(part, pair)


def _write_questions(
    config: BuildConfig, names: Sequence[DocumentedName], run: "StepRun"
) -> dict[str, int]:
    paraphrases, skipped = question_chats.paraphrased_questions(names)
    if skipped:
        run.note(f"paraphrased questions left out, as their names are not among ours: {skipped}")
    validation = question_chats.held_out_questions(
        names,
        "validation",
        documented=min(config.validation_questions, len(names)),
        made_up=config.validation_questions,
        seed=config.seed,
    )
    test = question_chats.held_out_questions(
        names,
        "test",
        documented=config.test_questions_per_name * len(names),
        made_up=config.made_up_test_questions,
        seed=config.seed,
    )
    folder = run.output / "questions"
    folder.mkdir()
    parts = {"validation": validation, "test": test, "paraphrase": paraphrases}
    for part, rows in parts.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
    shown = [*validation[:: max(len(validation) // _SHOWN_CHATS, 1)]]
    run.samples(
        "Held-out questions",
        [{"question": row["messages"][-1]["content"], "answer": row["answer"]} for row in shown],
    )
    return {part: len(rows) for part, rows in parts.items()}


def _finish(
    config: BuildConfig,
    run: "StepRun",
    writers: Mapping[RecordKind, SplitWriter],
    more: Mapping[str, Any],
) -> None:
    """Describe the corpus in `corpus.json`, the summary and the report."""
    counts: dict[str, Any] = {
        kind: {**writer.counts, "bytes": dict(writer.bytes)} for kind, writer in writers.items()
    }
    if more["questions"]:
        counts["questions"] = more["questions"]
    write_json(
        run.output / "corpus.json",
        {
            "source": config.path,
            "kinds": sorted(counts),
            "counts": counts,
            "documented_names": more["documented_names"],
        },
    )
    if more["documented_names"]:
        run.summarize(documented_names=more["documented_names"])
    for kind, writer in writers.items():
        run.summarize(**{f"corpus_{kind}_training": writer.counts["train"]})
    run.table(
        "Corpus",
        ["records", "training", "validation", "training bytes", "validation bytes"],
        [
            [kind, *writer.counts.values(), *writer.bytes.values()]
            for kind, writer in sorted(writers.items())
        ],
        note=f"read from {config.path}",
    )
