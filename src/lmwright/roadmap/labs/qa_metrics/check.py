"""What SQuAD's scores must do, in the order in which it is learnt."""

import string
from collections.abc import Sequence
from typing import Any

from lmwright.metrics.text import AnswerScores, answer_scores, normalize_answer
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call

WORDS = ("Panthers", "denver", "cup", "1,200", "x-ray", "Élan", "straße", "Moscow's", "theatre")
ARTICLES = ("a", "an", "the", "The", "AN", "A")
SPACES = (" ", "  ", "\t", "\n", "\u00a0", " \u2003")
# Letters that stand right beside an article make it part of a word; signs that are no ASCII
# punctuation stay where they are and end it.
GLUED = ("anthem", "banana", "theory", "data", "la", "thé", "a_b", "the—end", "“the”", "a2")
PUNCTUATION = tuple(string.punctuation)
OTHER_MARKS = ("—", "…", "“", "”", "¿", "、")


def scores(subject: Subject, case: Case) -> Any:
    """Both scores, by name."""
    found = call(subject, case)
    return {"exact_match": found.exact_match, "f1": found.f1}


def phrase(draw: Draw, words: Sequence[str], least: int = 1) -> list[str]:
    return [draw.choice(words) for _ in range(draw.size(least, 5))]


def changed(draw: Draw, words: list[str], all_words: Sequence[str]) -> list[str]:
    """The same words, some dropped, doubled, exchanged or in another order."""
    words = list(words)
    for _ in range(draw.size(0, 3)):
        place = draw.random.randrange(len(words)) if words else 0
        kind = draw.choice(["drop", "double", "exchange", "shuffle"])
        if kind == "drop":
            del words[place : place + 1]
        elif kind == "double":
            words[place:place] = words[place : place + 1]
        elif kind == "exchange":
            words[place : place + 1] = [draw.choice(all_words)]
        else:
            draw.random.shuffle(words)
    return words


def _compared(answer: str, references: list[str], *branches: str) -> Case:
    """A case whose branches tell how the right scores come out."""
    found = answer_scores(answer, references)
    kind = "exact" if found.exact_match else "partial" if found.f1 else "nothing"
    return Case((answer, references), branches=frozenset({kind, *branches}))


def bags(draw: Draw) -> Case:
    few = ("cat", "dog", "sat", "mat")
    words = phrase(draw, few)
    said = phrase(draw, ("bird", "fish")) if draw.chance(0.2) else changed(draw, words, few)
    return _compared(" ".join(said), [" ".join(words)])


def cased(draw: Draw) -> Case:
    words = phrase(draw, WORDS)
    other = [draw.choice([w.lower(), w.upper(), w.title(), w]) for w in words]
    return _compared(" ".join(other), [" ".join(changed(draw, words, WORDS))])


def punctuated(draw: Draw) -> Case:
    words = phrase(draw, WORDS)
    marked = []
    for word in words:
        mark = draw.choice(PUNCTUATION if draw.chance(0.8) else OTHER_MARKS)
        place = draw.choice([0, len(word) // 2, len(word)])
        marked.append(word[:place] + mark + word[place:])
    return _compared(" ".join(marked), [" ".join(changed(draw, words, WORDS))])


def with_articles(draw: Draw) -> Case:
    words = [
        draw.choice(ARTICLES + GLUED if draw.chance(0.6) else WORDS) for _ in range(draw.size(1, 9))
    ]
    plain = [word for word in words if word not in ARTICLES]
    return _compared(" ".join(words), [" ".join(changed(draw, plain, WORDS + GLUED))])


def joined(draw: Draw) -> Case:
    """Articles beside punctuation, where it matters which goes first."""
    parts = ("the-end", "a.", "x.the", "(an)", "the", "a.b", "end", "theend", "b")
    words = phrase(draw, parts)
    other = changed(draw, words, parts)
    return _compared(" ".join(words), [" ".join(other)])


def spaced(draw: Draw) -> Case:
    words = phrase(draw, WORDS)
    said = "".join(word + draw.choice(SPACES) for word in words)
    before = draw.choice(("", " ", "\n"))
    return _compared(before + said, [" ".join(changed(draw, words, WORDS))])


def several(draw: Draw) -> Case:
    words = phrase(draw, WORDS)
    references = [" ".join(changed(draw, words, WORDS)) for _ in range(draw.size(2, 4))]
    draw.random.shuffle(references)
    return _compared(" ".join(words), references)


def empty(draw: Draw) -> Case:
    nothing = ("", " ", "the", "a an", "!?", "\n")
    kind = draw.choice(["no answer", "no reference", "neither", "no references"])
    said = draw.choice(nothing) if kind in ("no answer", "neither") else draw.choice(WORDS)
    right = draw.choice(nothing) if kind in ("no reference", "neither") else draw.choice(WORDS)
    return Case((said, [] if kind == "no references" else [right]), branches=frozenset({kind}))


def perturbed(draw: Draw) -> Case:
    everything = WORDS + ARTICLES + GLUED + OTHER_MARKS + ("", "x.the", "(an)", "a.b")
    words = phrase(draw, everything, least=0)
    references = []
    for _ in range(draw.size(1, 3)):
        other = changed(draw, words, everything)
        marks = [draw.choice(PUNCTUATION) if draw.chance(0.2) else "" for _ in other]
        pieces = [w + m + draw.choice(SPACES) for w, m in zip(other, marks, strict=True)]
        references.append("".join(pieces))
    return _compared(" ".join(words), references)


PARTLY = frozenset({"exact", "partial"})
PROPERTIES = (
    Property(
        "F1 is of the two bags of words, exact match of the whole",
        bags,
        observe=scores,
        branches=frozenset({"exact", "partial", "nothing"}),
    ),
    Property("case does not count", cased, observe=scores, branches=PARTLY),
    Property("white space does not count", spaced, observe=scores, branches=PARTLY),
    Property(
        "ASCII punctuation is dropped, inside words too; other signs stay",
        punctuated,
        observe=scores,
        branches=PARTLY,
    ),
    Property(
        "the articles a, an and the are dropped where they stand alone",
        with_articles,
        observe=scores,
        branches=PARTLY,
    ),
    Property(
        "punctuation goes before articles",
        joined,
        observe=scores,
        edges={
            "the end": lambda draw: Case(("the-end", ["theend"])),
            "a dot": lambda draw: Case(("a. cup", ["cup"])),
        },
        branches=PARTLY,
    ),
    Property("the best of several references counts", several, observe=scores, branches=PARTLY),
    Property(
        "no words on both sides agree, on one side they do not",
        empty,
        observe=scores,
        branches=frozenset({"no answer", "no reference", "neither", "no references"}),
    ),
    Property(
        "2,000 perturbed answers score as they must",
        perturbed,
        cases=2000,
        observe=scores,
        branches=PARTLY | {"nothing"},
    ),
)


def precision_recall(answer: str, reference: str) -> tuple[float, float]:
    said, right = (normalize_answer(text).split() for text in (answer, reference))
    shared = sum(min(said.count(word), right.count(word)) for word in set(said))
    if not said or not right:
        return float(said == right), float(said == right)
    return shared / len(said), shared / len(right)


def with_articles_of(
    answer: str, references: Sequence[str], articles: Sequence[str]
) -> AnswerScores:
    def words(text: str) -> list[str]:
        bare = text.lower().translate(str.maketrans("", "", string.punctuation))
        return [word for word in bare.split() if word not in articles]

    def f1(right: list[str]) -> float:
        if not said or not right:
            return float(said == right)
        shared = sum(min(said.count(word), right.count(word)) for word in set(said))
        return 2 * shared / (len(said) + len(right))

    said, bags = words(answer), [words(text) for text in references]
    return AnswerScores(said in bags, max(map(f1, bags), default=0.0))


def set_f1(answer: str, references: Sequence[str]) -> float:
    def bag(text: str) -> str:
        return " ".join(sorted(set(normalize_answer(text).split())))

    return answer_scores(bag(answer), [bag(text) for text in references]).f1


def _pair(draw: Draw) -> Case:
    answer, references = perturbed(draw).args
    return Case((answer, references[0]))


def _german(draw: Draw) -> Case:
    words = ("der", "Das", "die", "Rhein", "Hund", "the", "a", "ein", "derart", "1,5")
    said = phrase(draw, words, least=0)
    right = [" ".join(changed(draw, said, words)) for _ in range(draw.size(1, 3))]
    articles = draw.choice([("der", "die", "das"), ("ein", "eine"), ("the", "der")])
    return Case((" ".join(said), right, articles))


def _few_or_many(draw: Draw) -> Case:
    return bags(draw) if draw.chance(0.5) else perturbed(draw)


TWISTS = {
    "precision_recall": Twist(
        "precision_and_recall",
        "`precision_and_recall(answer, reference)` gives two floats for one reference: the share "
        "of the answer's words that the reference has, and the share of the reference's words that "
        "the answer has, both after normalisation and counted as often as both have them. Where "
        "one has no words, both are 1.0 if neither has any, else 0.0.",
        precision_recall,
        (Property("precision and recall of the two bags of words", _pair, cases=200),),
    ),
    "other_articles": Twist(
        "scores_in_other_languages",
        "`scores_in_other_languages(answer, references, articles)` gives `AnswerScores` with other "
        "articles: the words of `articles` (lower case) are dropped, where they stand alone "
        "between white space, in place of a, an and the.",
        with_articles_of,
        (
            Property(
                "the articles given are dropped, and no others", _german, cases=200, observe=scores
            ),
        ),
    ),
    "sets": Twist(
        "set_f1",
        "`set_f1(answer, references)` gives the F1 of *sets* of words (each word counts once, "
        "however often it is said), after normalisation, the best over the references; the rules "
        "for texts without words stay.",
        set_f1,
        (Property("each word counts once", _few_or_many, cases=200),),
    ),
}
