"""UD English EWT: web text with lemmas and universal parts of speech."""

from collections.abc import Iterator
from pathlib import Path

from lmwright.corpora.catalog import Dataset, Row, hash_splits
from lmwright.corpora.formats import blocks, column

_FILE = "ud_ewt/en_ewt-ud-dev.conllu"
_TAGS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM"),
    *("PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"),
)


def read(folder: Path, _: str) -> Iterator[tuple[str, Row]]:
    """CoNLL-U: tokens with `tags` (UPOS) and `lemmas`; contractions as their parts."""
    document = ""
    rows = []
    for comments, table in blocks(folder / _FILE):
        document = next((c for c in comments if c.startswith("# newdoc")), document)
        # `4-5` names a contraction whose parts follow, `8.1` a word that is not there.
        words = [row for row in table if row[0].isdigit()]
        tokens, lemmas, tags = (column(folder / _FILE, words, index) for index in (1, 2, 3))
        rows.append((document, {"tokens": tokens, "tags": tags, "lemmas": lemmas}))
    splits = hash_splits(document for document, _ in rows)
    yield from ((splits[document], row) for document, row in rows)


DATASET = Dataset(
    name="ud_ewt",
    task="tagging",
    splits=("train", "validation", "test"),
    licence="CC BY-SA 4.0",
    citation="Silveira et al. 2014, A gold standard dependency corpus for English, LREC",
    source="UniversalDependencies/UD_English-EWT",
    files=(_FILE,),
    read=read,
    labels=_TAGS,
    split_note="by a hash of the document's name, 80 : 10 : 10 of the development set",
)
