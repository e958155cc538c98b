"""Movie reviews: 2,000 whole reviews, positive or negative."""

import re
from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import Dataset, Row
from lmwright.corpora.formats import decoded, members

_ARCHIVE = "movie_reviews/movie_reviews.zip"
_LABELS = {"neg": "negative", "pos": "positive"}
_MEMBER = r"movie_reviews/(neg|pos)/cv(\d)\d\d_\d+\.txt"
# The authors' ten folds are the hundreds of the file's number.
_SPLIT_OF_FOLD = {8: "validation", 9: "test"}


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """A review per file, a sentence per line."""
    for name, data in members(folder / _ARCHIVE, _MEMBER).items():
        match = re.fullmatch(_MEMBER, name)
        assert match is not None  # `members` matched it
        split = _SPLIT_OF_FOLD.get(int(match[2]), "train")
        yield split, {"text": decoded(data, name).strip(), "label": _LABELS[match[1]]}


DATASET = Dataset(
    name="movie_reviews",
    task="classification",
    splits=("train", "validation", "test"),
    licence="research",
    citation="Pang & Lee 2004, A sentimental education, ACL",
    source="nltk/nltk_data",
    files=(_ARCHIVE,),
    read=read,
    labels=("negative", "positive"),
    split_note="the authors' folds: 1 to 8 train, 9 validation, 10 test",
)
