"""Brown: a million words of American English of 1961, each with its part of speech."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Dataset, Row, hash_splits
from lmwright.corpora.formats import decoded, members, split_lines

_ARCHIVE = "prose/brown.zip"


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """`WORD/TAG WORD/TAG ...`, a sentence per line, a text per file."""
    files = members(folder / _ARCHIVE, r"brown/c[a-r]\d\d")
    # Sentences of one text know of each other: the whole text goes to one side.
    splits = hash_splits(files)
    for name, data in files.items():
        for sentence in filter(None, map(str.split, split_lines(decoded(data, name)))):
            parts = [item.rpartition("/") for item in sentence]
            wrong = [item for item, part in zip(sentence, parts, strict=True) if not part[0]]
            if wrong:
                raise LmwrightError(f"{name}: {wrong[0]!r} is no word with a tag")
            row = {"tokens": [p[0] for p in parts], "tags": [p[2] for p in parts]}
            yield splits[name], row


DATASET = Dataset(
    name="brown",
    task="tagging",
    splits=("train", "validation", "test"),
    licence="non-commercial",
    citation="Francis & Kučera 1979, Brown corpus manual",
    source="nltk/nltk_data",
    files=(_ARCHIVE,),
    read=read,
    split_note="by a hash of the text's name, 80 : 10 : 10 of the 500 texts",
)
