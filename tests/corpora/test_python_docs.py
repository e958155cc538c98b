"""The built-in source: names, made-up names, text; all from the Python that runs the test."""

import importlib
import random
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.corpora import made_up, python_names
from lmwright.corpora.made_up import HELD_OUT_KINDS, MadeUpNames, edit, part_of
from lmwright.corpora.python_names import documented_names, exists
from lmwright.corpora.python_text import python_documents

NAMES = documented_names(1200)
KINDS = ("misspelling", "wrong_attribute", "compound", "nonsense", "other_language")
PARTS = ("training", "validation", "test")


def test_a_thousand_names_and_more_are_documented():
    assert len(NAMES) >= 1050
    assert len({name.name for name in NAMES}) == len(NAMES)
    assert max(Counter(name.summary for name in NAMES).values()) <= 2


def test_the_summaries_are_the_documentation():
    summaries = {name.name: name.summary for name in NAMES}
    assert summaries["str.upper"] == "Return a copy of the string converted to uppercase."
    assert summaries["len"] == "Return the number of items in a container."
    for name in ("list.append", "dict.get", "math.sqrt", "os.path.join", "json.dumps"):
        assert 8 <= len(summaries[name]) <= 140


@pytest.mark.parametrize("name", random.Random(0).sample(NAMES, 40), ids=lambda name: name.name)
def test_every_name_exists_and_its_summary_stands_in_its_docstring(name):
    # Independent of the collector: import the module and walk down with getattr.
    parts = name.name.split(".")
    thing, rest = importlib.import_module("builtins"), parts
    if not hasattr(thing, parts[0]):
        thing, rest = importlib.import_module(parts[0]), parts[1:]
    for part in rest:
        thing = getattr(thing, part)
    documentation = " ".join(str(thing.__doc__).replace("`", "").split()).casefold()
    found = [word in documentation for word in name.summary.rstrip(".").casefold().split()]
    assert sum(found) >= len(found) - 1


def test_collecting_prints_nothing_and_opens_nothing():
    """`this` prints a poem and `antigravity` opens a browser when imported."""
    code = (
        "import sys; from lmwright.corpora.python_names import documented_names;"
        "from lmwright.corpora.python_text import python_documents;"
        "documented_names(); list(python_documents(2_000_000));"
        "assert not {'this', 'antigravity', 'torch', 'idlelib', 'turtle'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == ran.stderr == ""


def test_a_file_of_ours_never_stands_in_for_a_standard_module(tmp_path):
    (tmp_path / "colorsys.py").write_text('"""Not the standard one."""\nprint("imported")\n')
    code = "from lmwright.corpora.python_names import documented_names; documented_names()"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == ""


def test_python_without_docstrings_is_told_what_to_do():
    code = "from lmwright.corpora.python_names import documented_names; documented_names()"
    ran = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True)
    assert "docstrings" in ran.stderr
    assert LmwrightError.__name__ in ran.stderr


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("str.upper", True),
        ("len", True),
        ("os.path.join", True),
        ("threading.Thread", True),
        ("xml.dom.pulldom", True),  # a submodule that nobody imported
        ("this.s", True),  # a module that is never imported: in doubt, real
        ("subprocess.Popen.stdin", True),  # an attribute of instances alone
        ("str.uper", False),
        ("math.upper", False),
        ("os.list_files", False),
        ("netutils.parse_header", False),
        ("strr.upper", False),
    ],
)
def test_real_names_are_told_from_made_up_ones(name, real):
    assert exists(name) is real


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", PARTS)
def test_no_made_up_name_is_real(kind, part):
    maker = MadeUpNames(NAMES, part, random.Random(2))
    real = {name.name for name in NAMES}
    for _ in range(300):
        made = maker.make(kind)
        assert made.name not in real
        assert resolve_by_import(made.name) is None
        assert made.nearest in NAMES


def resolve_by_import(dotted):
    """Ask Python itself, by a way other than the one under test."""
    try:
        return eval(dotted, {part: sys.modules[part] for part in [dotted.split(".")[0]]})
    except (KeyError, NameError, AttributeError, SyntaxError):
        return None


def made_halves(made):
    """The parts of a name that are no real name's parts."""
    owner, _, attribute = made.name.rpartition(".")
    if made.kind == "wrong_attribute":
        return {attribute}
    if made.kind == "compound":
        return {owner, attribute}
    pairs = zip(made.name.split("."), made.nearest.name.split("."), strict=True)
    return {ours for ours, theirs in pairs if ours != theirs}


@pytest.mark.parametrize("kind", HELD_OUT_KINDS)
def test_made_up_halves_of_the_parts_are_disjoint(kind):
    halves = {}
    for part in PARTS:
        maker = MadeUpNames(NAMES, part, random.Random(3))
        made = [maker.make(kind) for _ in range(1500)]
        halves[part] = set().union(*(made_halves(one) for one in made))
        assert all(part_of(half) == part for half in halves[part])
    for one, other in combinations(PARTS, 2):
        assert not halves[one] & halves[other]


def test_misspellings_are_one_edit_away():
    maker = MadeUpNames(NAMES, "training", random.Random(4))
    for _ in range(500):
        made = maker.make("misspelling")
        assert distance(made.name, made.nearest.name) == 1


def distance(a, b):
    """Damerau-Levenshtein (optimal string alignment), the textbook recurrence."""
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            cost = a[i - 1] != b[j - 1]
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + cost)
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(a), len(b)]


def test_edits_are_of_all_kinds():
    rng = random.Random(5)
    edits = {edit("upper", rng) for _ in range(600)}
    assert {"uper", "uppper", "pupper", "upperr", "pper"} <= edits


def test_training_names_are_fresh():
    maker = MadeUpNames(NAMES, "training", random.Random(6))
    assert len({maker.make("misspelling").name for _ in range(5000)}) > 4500


def test_wrong_attributes_are_of_both_types():
    maker = MadeUpNames(NAMES, "test", random.Random(7))
    attributes = {name.attribute for name in NAMES}
    borrowed = [
        maker.make("wrong_attribute").name.rpartition(".")[2] in attributes for _ in range(400)
    ]
    assert 0.3 < sum(borrowed) / len(borrowed) < 0.7


def test_too_few_names_of_a_kind_is_noticed(monkeypatch):
    monkeypatch.setattr(made_up, "_is_real", lambda name: True)
    with pytest.raises(AssertionError, match="no misspelling"):
        MadeUpNames(NAMES, "test", random.Random(8)).make("misspelling")


def test_text_is_documentation_topics_and_source_within_bounds():
    documents = list(python_documents(6_000_000))
    size = sum(len(document.text) for document in documents)
    assert 6_000_000 <= size < 7_000_000
    sources = [document.source for document in documents]
    assert "documentation of str" in sources
    assert any(source.startswith("help(") for source in sources)
    assert "json/decoder.py" in sources
    skipped = ("test/", "idlelib/", "lib2to3/", "site-packages/", "encodings/", "this.py")
    assert not [source for source in sources if source.startswith(skipped)]
    assert [d.source for d in python_documents(6_000_000)] == sources


def test_names_are_the_same_in_every_process():
    python_names._all_names.cache_clear()
    assert documented_names(1200) == NAMES
    code = (
        "from lmwright.corpora.python_names import *; print(*(n.name for n in documented_names()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[: len(NAMES)] == [name.name for name in NAMES]
