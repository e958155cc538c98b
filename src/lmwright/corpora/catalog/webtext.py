"""Web text: a support forum, overheard talk, advertisements, two film scripts, wine reviews."""

import re
from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import Dataset, Row, hash_splits
from lmwright.corpora.formats import decoded, members

_ARCHIVE = "prose/webtext.zip"


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """Passages between empty lines; a file without any is one passage."""
    # Collected from pages of many encodings; all but the script of the Grail are no UTF-8.
    rows = [
        {"text": passage.strip("\n"), "source": name}
        for name, data in members(folder / _ARCHIVE, r"webtext/\w+\.txt").items()
        for passage in re.split(r"\n\s*\n", decoded(data, name, "cp1252"))
        if passage.strip()
    ]
    splits = hash_splits(row["text"] for row in rows)
    yield from ((splits[row["text"]], row) for row in rows)


DATASET = Dataset(
    name="webtext",
    task="language_modeling",
    splits=("train", "validation", "test"),
    licence="research",
    citation="Bird, Klein & Loper 2009, Natural language processing with Python",
    source="nltk/nltk_data",
    files=(_ARCHIVE,),
    read=read,
    split_note="by a hash of the passage, 80 : 10 : 10",
)
