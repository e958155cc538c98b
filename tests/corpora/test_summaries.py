"""One sentence from a docstring, or none."""

import pytest

from lmwright.corpora.summaries import MAX_CHARACTERS, summary


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return a copy.\n\nMore.", "Return a copy."),
        ("Return the sine\nof x (in radians).", "Return the sine of x (in radians)."),
        ("D.pop(k[,d]) -> v, remove and return it.\n\nX", "Remove and return it."),
        ("D.update([E, ]**F) -> None.  Update D from E and F.\nIf E", "Update D from E and F."),
        ("D.keys() -> a set-like object on D's keys", "Return a set-like object on D's keys."),
        (
            "range(stop) -> range object\nrange(a, b) -> range object\n\nReturn numbers.",
            "Return numbers.",
        ),
        (
            "zip(*its) --> Yield tuples until one is empty.\n\n>>> x",
            "Yield tuples until one is empty.",
        ),
        ("tz -> convert to local time in tz\n", "Convert to local time in tz."),
        ("hashlib module - An interface to hashes.\n", "An interface to hashes."),
        ("Return e.g. one thing. And more.", "Return e.g. one thing."),
        ("Set the level. level must be an int.", "Set the level."),
        ("Use :class:`~io.Reader` and ``x`` here.", "Use io.Reader and x here."),
        ("a set of things", "A set of things."),
        ("os.path.join for URLs.", "os.path.join for URLs."),
        ("Alias for field number 0", None),
        ("Initialize self.  See help(type(self)) for accurate signature.", None),
        ("Return one of the following:", None),
        ("float(x)", None),
        ("", None),
        (None, None),
        (42, None),
        ("Return " + "very " * 40 + "much.", None),
        ("Rückgabe eines Werts.", None),
    ],
)
def test_the_first_sentence_is_found(docstring, expected):
    assert summary(docstring) == expected


def test_a_summary_is_one_short_line():
    text = summary("Do   this\n  and that. Then more.")
    assert text == "Do this and that."
    assert len(text) <= MAX_CHARACTERS
