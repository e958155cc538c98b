"""CoLA: is the sentence acceptable English? Scored by Matthews' correlation."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Dataset, Row
from lmwright.corpora.formats import lines

# The test labels were never published; the sentences from other books than the training's are the
# harder half of the development set, and stand in for it.
_FILES = {
    "train": "cola/raw/in_domain_train.tsv",
    "validation": "cola/raw/in_domain_dev.tsv",
    "test": "cola/raw/out_of_domain_dev.tsv",
}
_LABELS = ("unacceptable", "acceptable")


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """`SOURCE\\tLABEL\\tMARK\\tSENTENCE` per line; quotation marks are characters like others."""
    for split, file in _FILES.items():
        for number, line in enumerate(lines(folder / file), start=1):
            columns = line.split("\t")
            if len(columns) != 4 or columns[1] not in ("0", "1"):
                raise LmwrightError(f"{folder / file}, line {number} has not CoLA's four columns")
            yield split, {"text": columns[3], "label": _LABELS[int(columns[1])]}


DATASET = Dataset(
    name="cola",
    task="classification",
    splits=tuple(_FILES),
    licence="research",
    citation="Warstadt, Singh & Bowman 2019, Neural network acceptability judgments, TACL",
    source="nyu-mll/CoLA-baselines",
    files=tuple(_FILES.values()),
    read=read,
    labels=_LABELS,
    split_note="the authors' split; their out-of-domain development set is the test",
)
