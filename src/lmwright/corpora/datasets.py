"""The step that writes a labelled set, published or the user's own, as JSON Lines per split.

dataset.json        task, columns, labels, licence, ...: a `Description`
train.jsonl         rows in the task's columns
validation.jsonl
test.jsonl
"""

import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, read_json, write_json
from lmwright.corpora import catalog
from lmwright.corpora.catalog import Row, Task
from lmwright.corpora.commands import DatasetConfig
from lmwright.corpora.own_datasets import read_own
from lmwright.corpora.sources import find_files
from lmwright.pipeline.closure import code_digests, module_file

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

SAMPLES = 3
_MOST_LABELS_IN_A_TABLE = 20


@dataclass(frozen=True)
class Description:
    """What a dataset folder holds."""

    name: str
    task: Task
    columns: tuple[str, ...]
    """Columns of every row; rows may have more."""
    labels: tuple[str, ...]
    """Names of classes or tags in the order of their ids; empty where the task has none."""
    rows: Mapping[str, int]
    """Split -> number of rows."""
    language: str = ""
    """Of the texts; `FROM-TO` for translations."""
    licence: str = ""
    citation: str = ""
    split_note: str = ""

    def write(self, folder: Path) -> None:
        """Put the description into `folder`."""
        write_json(folder / "dataset.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Description":
        """The description of a dataset folder.

        Raises:
            LmwrightError: if it is missing or is none.
        """
        values = read_json(Path(folder) / "dataset.json")
        try:
            tuples = {key: tuple(values[key]) for key in ("columns", "labels")}
            return cls(**{**values, **tuples})
        except (TypeError, KeyError) as error:
            raise LmwrightError(f"{folder} is not a dataset folder: {error}") from error

    @property
    def pairs(self) -> bool:
        """Whether each row has two sentences to compare."""
        return "sentence2" in self.columns


def read_rows(folder: Path, split: str) -> list[Row]:
    """The rows of one split of a dataset folder.

    Raises:
        LmwrightError: if the folder has no such split.
    """
    file = Path(folder) / f"{split}.jsonl"
    if not file.exists():
        raise LmwrightError(f"{folder} has no split {split!r}")
    with open(file, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def reads(config: DatasetConfig) -> list[Path]:
    """The files that decide the result: the data, and the module that knows its format.

    Files that are missing are the step's own error: a plan can be looked at without the data.

    Raises:
        LmwrightError: if there is no such set, or nothing at the user's path.
    """
    if config.path is not None:
        return sorted({source.path for source in find_files(config.path, None)})
    dataset = catalog.find(config.source)
    # Found by a computed name, so the fingerprint of the code does not see it.
    files = [catalog.module_file(dataset.name)]
    if not dataset.files:  # its rows are made by what it imports
        modules = code_digests(catalog.module_name(dataset.name))
        files = [file for name in modules if (file := module_file(name)) is not None]
    with contextlib.suppress(LmwrightError):
        files += catalog.official_files(dataset)
    return files


def build(config: DatasetConfig, run: "StepRun") -> None:
    """Write the set into `run.output`, see the module's docstring.

    Raises:
        LmwrightError: if it is missing, malformed, or has a split without rows.
    """
    with run.progress(f"reading {config.path or config.source}"):
        description, splits = _own(config, run) if config.path else _published(config)
    with disk_errors(run.output):
        for split, rows in splits.items():
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (run.output / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    description.write(run.output)
    _report(run, description, splits)


def _published(config: DatasetConfig) -> tuple[Description, dict[str, list[Row]]]:
    dataset = catalog.find(config.source)
    splits = _limited(_about(catalog.rows(dataset, config.language), config), config)
    description = Description(
        name=dataset.name,
        task=dataset.task,
        columns=catalog.columns_of(dataset.task, next(iter(splits.values()))[0]),
        labels=dataset.labels or _found_labels(dataset.task, splits),
        rows={split: len(rows) for split, rows in splits.items()},
        language=config.language or dataset.languages[0],
        licence=dataset.licence,
        citation=dataset.citation,
        split_note=dataset.split_note,
    )
    return description, splits


def _own(config: DatasetConfig, run: "StepRun") -> tuple[Description, dict[str, list[Row]]]:
    assert config.path is not None
    task, found, note = read_own(config.path, config.task, run.note)
    labels = _found_labels(task, found)
    splits = _limited(found, config)
    description = Description(
        name=Path(config.path).stem,
        task=task,
        columns=catalog.columns_of(task, next(iter(splits.values()))[0]),
        labels=labels,
        rows={split: len(rows) for split, rows in splits.items()},
        language=config.language or "",
        split_note=note,
    )
    return description, splits


def _about(splits: Mapping[str, list[Row]], config: DatasetConfig) -> Mapping[str, list[Row]]:
    """The rows about the first `names` names, in every split."""
    if config.names is None:
        return splits
    training = splits["train"]
    if "name" not in training[0]:
        raise LmwrightError(
            f"the rows of {config.source} are about no names", hint="leave names out; see limit"
        )
    chosen = set(list(dict.fromkeys(row["name"] for row in training))[: config.names])
    return {split: [row for row in rows if row["name"] in chosen] for split, rows in splits.items()}


def _limited(splits: Mapping[str, list[Row]], config: DatasetConfig) -> dict[str, list[Row]]:
    """At most `limit` rows of each split, drawn by the seed and kept in their order."""
    for split, rows in splits.items():
        if not rows:
            raise LmwrightError(f"split {split} of the dataset has no rows")
    if config.limit is None:
        return dict(splits)
    result = {}
    for split, rows in splits.items():
        count = min(config.limit, len(rows))
        chosen = random.Random(f"{config.seed} {split}").sample(range(len(rows)), count)
        result[split] = [rows[index] for index in sorted(chosen)]
    return result


def _found_labels(task: Task, splits: Mapping[str, Iterable[Row]]) -> tuple[str, ...]:
    """The labels that occur, numbers by size, names by the alphabet, "O" first."""
    if task not in ("classification", "tagging"):
        return ()
    names: set[str] = set()
    for rows in splits.values():
        for row in rows:
            names.update(row["tags"] if task == "tagging" else [row["label"]])
    numbers = all(name.lstrip("-").isdigit() for name in names)
    return tuple(sorted(names, key=lambda name: (name != "O", int(name) if numbers else 0, name)))


def _report(
    run: "StepRun", description: Description, splits: Mapping[str, list[dict[str, Any]]]
) -> None:
    for split, rows in splits.items():
        run.summarize(**{f"{run.name}_{split}_rows": len(rows)})
    shown = description.labels if description.task == "classification" else ()
    if len(shown) > _MOST_LABELS_IN_A_TABLE:
        shown = ()
    counts = {split: Counter(row.get("label") for row in rows) for split, rows in splits.items()}
    run.table(
        f"{description.name}: {description.task.replace('_', ' ')}",
        ["split", "rows", *(f"{label}, rows" for label in shown)],
        [[split, len(rows), *(counts[split][n] for n in shown)] for split, rows in splits.items()],
        note=f"split: {description.split_note}; licence: {description.licence or 'yours'}",
    )
    first = next(iter(splits.values()))
    run.samples(
        f"Rows of {description.name}",
        [{key: plain(value) for key, value in row.items()} for row in first[:SAMPLES]],
    )


def plain(value: Any) -> str:
    """A cell as one line of text: lists of words joined, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False)
