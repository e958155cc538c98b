"""XQuAD: questions about paragraphs of Wikipedia, answered by a span; English and German."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import Dataset, Row, hash_splits
from lmwright.corpora.formats import squad_rows

_FILES = {"en": "xquad/xquad.en.json", "de": "xquad/xquad.de.json"}


def read(folder: Path, language: str) -> Iterator[tuple[str, Row]]:
    """SQuAD v1.1's format. Titles are English throughout, so that all languages split alike."""
    rows = list(squad_rows(folder / _FILES[language]))
    splits = hash_splits(row["title"] for row in rows)
    yield from ((splits[row["title"]], row) for row in rows)


DATASET = Dataset(
    name="xquad",
    task="question_answering",
    splits=("train", "validation", "test"),
    licence="CC BY-SA 4.0",
    citation="Artetxe, Ruder & Yogatama 2020, On the cross-lingual transferability, ACL",
    source="google-deepmind/xquad",
    files=tuple(_FILES.values()),
    read=read,
    languages=tuple(_FILES),
    split_note="by a hash of the article's title, 80 : 10 : 10; published as one test set",
)
