"""DialogSum: everyday dialogues and their summaries."""

import json
from collections.abc import Iterator
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import HELD_OUT, Dataset, Row
from lmwright.corpora.formats import lines
from lmwright.corpora.splits import content_hash

_DEVELOPMENT, _TEST = "dialogsum/dialogsum.dev.jsonl", "dialogsum/dialogsum.test.jsonl"


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """JSON Lines; the test has three summaries of each dialogue, `summary` being the first."""
    for row in _rows(folder / _DEVELOPMENT, ("summary",)):
        held_out = content_hash(row["dialogue"]) < HELD_OUT
        yield "validation" if held_out else "train", row
    for row in _rows(folder / _TEST, ("summary1", "summary2", "summary3")):
        yield "test", row


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    for number, line in enumerate(lines(file), start=1):
        try:
            values = json.loads(line)
            summaries = [values[column].strip() for column in columns]
            dialogue = values["dialogue"].strip()
        except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise LmwrightError(f"{file}, line {number} is no row of DialogSum: {error}") from error
        yield {"dialogue": dialogue, "summary": summaries[0], "summaries": summaries}


DATASET = Dataset(
    name="dialogsum",
    task="summarization",
    splits=("train", "validation", "test"),
    licence="CC BY-NC-SA 4.0",
    citation="Chen, Liu, Chen & Zhang 2021, DialogSum, Findings of ACL",
    source="cylnlp/dialogsum",
    files=(_DEVELOPMENT, _TEST),
    read=read,
    split_note="the authors' test; their development set serves as train, a tenth of it, by a hash "
    "of the dialogue, as validation (the training set is not among the files)",
)
