"""RTE: does the first sentence entail the second? The first three challenges."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import HELD_OUT, Dataset, Row
from lmwright.corpora.formats import members
from lmwright.corpora.splits import content_hash

_ARCHIVE = "rte/rte.zip"
_LABELS = ("entailment", "not_entailment")
_VALUES = dict.fromkeys(("YES", "TRUE"), _LABELS[0]) | dict.fromkeys(("NO", "FALSE"), _LABELS[1])


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """`<pair value=... or entailment=...><t>text</t><h>hypothesis</h></pair>`."""
    for challenge in (1, 2, 3):
        for part in ("dev", "test"):
            member = f"rte/rte{challenge}_{part}.xml"
            for row in _pairs(folder / _ARCHIVE, member):
                held_out = content_hash(row["sentence1"]) < HELD_OUT
                yield part if part == "test" else "validation" if held_out else "train", row


def _pairs(archive: Path, member: str) -> Iterator[Row]:
    try:
        root = ElementTree.fromstring(members(archive, re.escape(member))[member])
    except ElementTree.ParseError as error:
        raise LmwrightError(f"{archive}!{member} is not XML: {error}") from error
    for pair in root:
        label = _VALUES.get(pair.get("value") or pair.get("entailment") or "")
        texts = [" ".join((pair.findtext(tag) or "").split()) for tag in ("t", "h")]
        if label is None or not all(texts):
            raise LmwrightError(f"{archive}!{member}: pair {pair.get('id')} is incomplete")
        yield {"sentence1": texts[0], "sentence2": texts[1], "label": label}


DATASET = Dataset(
    name="rte",
    task="classification",
    splits=("train", "validation", "test"),
    licence="research",
    citation="Dagan, Glickman & Magnini 2006, The PASCAL recognising textual entailment challenge",
    source="nltk/nltk_data",
    files=(_ARCHIVE,),
    read=read,
    labels=_LABELS,
    split_note="the authors' test sets; of their development sets a tenth, by a hash of the first "
    "sentence, for validation",
)
