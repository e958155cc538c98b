"""WikiText-2: good and featured articles of Wikipedia, rare words as `<unk>`."""

import re
from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import HELD_OUT, Dataset, Row
from lmwright.corpora.formats import lines
from lmwright.corpora.splits import content_hash

_VALID, _TEST = "wikitext-2/valid.txt", "wikitext-2/test.txt"
# ` = Title = `; sections below it have more signs of equality.
_TITLE = re.compile(r" ?= [^=].*[^=] = ?")


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """Articles one after the other; a title between single signs of equality begins each."""
    for text in _articles(lines(folder / _VALID)):
        yield "validation" if content_hash(text) < 2 * HELD_OUT else "train", {"text": text}
    for text in _articles(lines(folder / _TEST)):
        yield "test", {"text": text}


def _articles(rows: list[str]) -> Iterator[str]:
    article: list[str] = []
    for number, line in enumerate(rows):
        # A title stands between empty lines; a formula that looks like one does not.
        alone = all(not rows[i].strip() for i in (number - 1, number + 1) if 0 <= i < len(rows))
        if _TITLE.fullmatch(line) and alone and any(part.strip() for part in article):
            yield "\n".join(article).strip()
            article = []
        article.append(line)
    yield "\n".join(article).strip()


DATASET = Dataset(
    name="wikitext_2",
    task="language_modeling",
    splits=("train", "validation", "test"),
    licence="CC BY-SA 3.0",
    citation="Merity et al. 2017, Pointer sentinel mixture models, ICLR",
    source="pytorch/examples",
    files=(_VALID, _TEST),
    read=read,
    split_note="the authors' test; their validation file serves as train, a fifth of its articles, "
    "by a hash, as validation (the training set is not among the files)",
)
