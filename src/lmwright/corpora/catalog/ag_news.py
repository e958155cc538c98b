"""AG News: headlines and first sentences of news, in four topics."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Dataset, Row, hash_splits
from lmwright.corpora.formats import lines, read_text

_FILES = ("ag_news/test.csv", "ag_news/classes.txt")


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """`CLASS,TITLE,DESCRIPTION` without a header, classes from 1; `\\` stands for a line end."""
    file, classes = (folder / name for name in _FILES)
    names = lines(classes)
    rows: list[Row] = []
    table = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    for number, row in enumerate(table, start=1):
        if len(row) != 3 or row[0] not in {str(i + 1) for i in range(len(names))}:
            raise LmwrightError(f"{file}, row {number} is not a class, a title and a description")
        text = " ".join(" ".join(row[1:]).replace("\\", " ").split())
        rows.append({"text": text, "label": names[int(row[0]) - 1]})
    splits = hash_splits(row["text"] for row in rows)
    yield from ((splits[row["text"]], row) for row in rows)


DATASET = Dataset(
    name="ag_news",
    task="classification",
    splits=("train", "validation", "test"),
    licence="non-commercial",
    citation="Zhang, Zhao & LeCun 2015, Character-level convolutional networks, NeurIPS",
    source="mhjabreel/CharCnn_Keras",
    files=_FILES,
    read=read,
    labels=("World", "Sports", "Business", "Sci/Tech"),
    split_note="by a hash of the text, 80 : 10 : 10 of the authors' 7,600 test rows",
)
