"""CoNLL-2003: people, places, organisations and other names in news of 1996."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import Dataset, Row
from lmwright.corpora.formats import bio_of_iob1, blocks, column

_FILES = {
    "train": "conll2003/eng.train",
    "validation": "conll2003/eng.testa",
    "test": "conll2003/eng.testb",
}
_TYPES = ("PER", "ORG", "LOC", "MISC")


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """Word, part of speech, chunk and name in IOB1; `-DOCSTART-` begins a document."""
    for split, name in _FILES.items():
        file = folder / name
        for _comments, table in blocks(file):
            tokens = column(file, table, 0)
            if tokens[0] != "-DOCSTART-":
                yield split, {"tokens": tokens, "tags": bio_of_iob1(column(file, table, 3))}


DATASET = Dataset(
    name="conll2003",
    task="tagging",
    splits=tuple(_FILES),
    licence="research",
    citation="Tjong Kim Sang & De Meulder 2003, Introduction to the CoNLL-2003 shared task",
    source="synalp/NER",
    files=tuple(_FILES.values()),
    read=read,
    labels=("O", *(f"{begin}-{kind}" for kind in _TYPES for begin in "BI")),
)
