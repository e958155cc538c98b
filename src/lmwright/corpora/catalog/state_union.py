"""State of the Union: addresses of American presidents, 1945 to 2006."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lmwright.corpora.catalog import Dataset, Row, hash_splits
from lmwright.corpora.formats import decoded, members

_ARCHIVE = "prose/state_union.zip"
# The transcripts were typed in places; quotation marks and dashes of these are not UTF-8.
_ENCODINGS = {
    "1954-Eisenhower": "cp1252",
    **{f"{year}-Nixon": "big5" for year in range(1970, 1975)},
}


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """An address per file, `YEAR-PRESIDENT.txt`."""
    addresses = {
        PurePosixPath(name).stem: data
        for name, data in members(folder / _ARCHIVE, r"state_union/\d{4}-.+\.txt").items()
    }
    splits = hash_splits(addresses)
    for title, data in addresses.items():
        text = decoded(data, title, _ENCODINGS.get(title, "utf-8")).strip()
        yield splits[title], {"text": text, "source": title}


DATASET = Dataset(
    name="state_union",
    task="language_modeling",
    splits=("train", "validation", "test"),
    licence="public domain",
    citation="C-Span State of the Union address corpus, compiled by K. Ahrens",
    source="nltk/nltk_data",
    files=(_ARCHIVE,),
    read=read,
    split_note="by a hash of the title, 80 : 10 : 10",
)
