"""Multi30k: descriptions of photographs in English and German."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Dataset, Row
from lmwright.corpora.formats import lines

_PARTS = {
    "train": "train",
    "validation": "val",
    "test": "test_2016_flickr",
    "test_2017": "test_2017_flickr",
}


def read(folder: Path, language: str) -> Iterator[tuple[str, Row]]:
    """A sentence per line, the same line of both files being translations."""
    ends = language.split("-")
    for split, part in _PARTS.items():
        files = [folder / f"multi30k/{part}.{end}.gz" for end in ends]
        sources, targets = (lines(file) for file in files)
        if len(sources) != len(targets):
            raise LmwrightError(
                f"{files[0]} has {len(sources)} lines, {files[1].name} {len(targets)}"
            )
        for source, target in zip(sources, targets, strict=True):
            yield split, {"source": source.strip(), "target": target.strip()}


DATASET = Dataset(
    name="multi30k",
    task="translation",
    splits=tuple(_PARTS),
    licence="CC BY-NC-SA 4.0",
    citation="Elliott et al. 2016, Multi30K: multilingual English-German image descriptions",
    source="multi30k/dataset",
    files=tuple(f"multi30k/{part}.{end}.gz" for part in _PARTS.values() for end in ("de", "en")),
    read=read,
    languages=("de-en", "en-de"),
    split_note="the authors' split; test is that of 2016",
)
