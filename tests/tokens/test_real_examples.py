"""Published sets as examples: answers, tags and labels survive the way through a tokenizer."""

import pytest

from lmwright.corpora import catalog
from lmwright.tokens import encoding, tokenizer
from lmwright.tokens.packing import IGNORED


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_answers_of_xquad_are_found_again(data, kind, language):
    dataset = catalog.find("xquad")
    rows = catalog.rows(dataset, language)["validation"][:80]
    words = tokenizer.train([row["context"] for row in rows], 1000, kind=kind)
    found = encoding.encode_questions(words, rows, 192, 64)
    answered = set()
    for index, row_index in enumerate(found.rows):
        row, (first, last) = rows[row_index], found.labels[index]
        if (first, last) == (0, 0):
            continue
        places = found.places[index]
        spelled = row["context"][places[first][0] : places[last][1]].strip()
        answer = row["answers"]["text"][0].strip()
        # A token may hold a sign beyond the answer's end, never less than the answer.
        assert answer in spelled
        assert len(spelled) <= len(answer) + 12
        answered.add(row_index)
    # An answer longer than the windows' overlap may lie in none whole.
    assert len(answered) >= 0.97 * len(rows)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_names_of_conll_keep_their_tags(data, kind):
    dataset = catalog.find("conll2003")
    rows = catalog.rows(dataset)["test"][:300]
    words = tokenizer.train([" ".join(row["tokens"]) for row in rows], 1000, kind=kind)
    found = encoding.encode_tags(words, rows, dataset.labels, 256)
    assert found.cut == 0
    for row, tags in zip(rows, found.labels, strict=True):
        assert [dataset.labels[tag] for tag in tags if tag != IGNORED] == row["tags"]
