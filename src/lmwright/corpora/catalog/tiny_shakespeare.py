"""Tiny Shakespeare: a megabyte of plays."""

import re
from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import Dataset, Row
from lmwright.corpora.formats import read_text

_FILE = "tiny_shakespeare/input.txt"
_TRAIN = 0.9


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """Speeches between empty lines; joined by `\\n\\n` they are the file again."""
    text = read_text(folder / _FILE)
    end = int(len(text) * _TRAIN)
    place = 0
    for speech in re.split(r"\n\n", text.rstrip("\n")):
        # The line that the border falls into stays whole, on the training side.
        yield "train" if place < end else "validation", {"text": speech}
        place += len(speech) + 2


DATASET = Dataset(
    name="tiny_shakespeare",
    task="language_modeling",
    splits=("train", "validation"),
    licence="public domain",
    citation="Karpathy 2015, The unreasonable effectiveness of recurrent neural networks",
    source="karpathy/char-rnn",
    files=(_FILE,),
    read=read,
    split_note="the first 90 % of the characters train, as nanoGPT has it; no test",
)
