"""From a docstring to one plain sentence that says what a thing does."""

import re

MIN_CHARACTERS = 8
MAX_CHARACTERS = 140
_PROSE_SPACES = 4  # `-> create an iterator which returns` is prose, `-> range object` a type

# A signature as C docstrings write it: "D.pop(k[,d]) -> v, remove ...", one level of nesting.
_SIGNATURE = re.compile(r"\s*[\w.]+\((?:[^()]|\([^()]*\))*\)[ \t]*")
_ARROW_SENTENCE = re.compile(r"[\w\[\], |]{1,30}\.[ \t]+(?=[A-Z])")
_ARROW_CLAUSE = re.compile(r"\w{1,12},[ \t]+(?=[a-z])")
# datetime's own habit: "tz -> convert to local time in new timezone tz".
_ARGUMENTS_ARROW = re.compile(r"[\w, \[\]]{1,30} -> ")
_HEADING = re.compile(r"[\w.]+(?: module)? [-:]+ |\w+\.py - ")
_ROLE = re.compile(r":\w+(?::\w+)?:`~?([^`]+)`")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|approx|Fig|No|incl|resp)\.$")
_SENTENCE_END = re.compile(
    r"[.!?](?=\s+[A-Z\"'(`\[]|\s+\w+ (?:must|is|are|may|can|should|defaults)\b|\s*$)"
)
_BOILERPLATE = re.compile(
    r"Alias for field number|See help\(type|Helper for|https?://|>>>|->|TODO|XXX|\\"
    r"|^(?:See|Like|Alias|Equivalent|Identical|As|Deprecated|C) "
    r"|^This (?:function|method|class|module) is (?:deprecated|undocumented)"
    r"|^(?:Initiali[sz]e|Constructor|Create a new instance|Class docstring|Fast implementation)\b"
    r"|^An enumeration"
    r"|^\w+: |\[\w*\[|arguments are required"
    r"|(?<!\.g)(?<!\.e)(?<!etc)(?<!vs)(?<!cf)\. [a-z]|\w\([^()]*\["
)


def summary(docstring: object) -> str | None:
    """The first sentence of `docstring`, without signature lines and markup.

    Returns:
        One line of 8 to 140 printable ASCII characters that ends in a full stop; None where the
        docstring has no such sentence (a signature alone, a list, a cross-reference).
    """
    if not isinstance(docstring, str):
        return None
    text = _without_signatures(docstring.strip())
    paragraph = " ".join(re.split(r"\n[ \t]*\n", text, maxsplit=1)[0].split())
    sentence = _without_markup(_first_sentence(paragraph))
    return sentence if _is_good(sentence) else None


def _without_signatures(text: str) -> str:
    text = _HEADING.sub("", text, count=1) if _HEADING.match(text) else text
    if match := _ARGUMENTS_ARROW.match(text):
        return _capitalized(text[match.end() :])
    while match := _SIGNATURE.match(text):
        line, _, following = text[match.end() :].partition("\n")
        line = line.strip()
        if line.startswith(("-- ", "- ", ": ")):
            return _capitalized(text[match.end() :].lstrip(" \t-:"))
        if line.startswith(("->", "-->")):
            returned = line.lstrip("-").removeprefix(">").strip()
            rest = _after_arrow(returned)
            if rest is not None:
                return f"{_capitalized(rest)}\n{following}"
            if returned.count(" ") >= _PROSE_SPACES or not following.strip():
                return f"{_as_return(returned)}\n{following}"
        elif line:
            return text  # prose that happens to start with a call: "range(10) is ..."
        text = following.strip()
    return text


def _after_arrow(returned: str) -> str | None:
    """What follows the type in `-> None.  Update D` or `-> v, remove key`; None if nothing does."""
    for pattern in (_ARROW_SENTENCE, _ARROW_CLAUSE):
        if match := pattern.match(returned):
            return returned[match.end() :]
    return None


def _as_return(returned: str) -> str:
    """`-> a set-like object` as a sentence; a bare type says too little to be one."""
    if returned.startswith(("a ", "an ", "the ", "x ")):
        return f"Return {returned}"
    if returned.startswith("new "):
        return f"Return a {returned}"
    return _capitalized(returned) if returned.count(" ") >= _PROSE_SPACES else ""


def _first_sentence(paragraph: str) -> str:
    for match in _SENTENCE_END.finditer(paragraph):
        candidate = paragraph[: match.end()]
        if not _ABBREVIATION.search(candidate):
            return candidate
    if re.search(r"[\w)\]\"'`%]$", paragraph):
        return paragraph + "."
    return paragraph


def _without_markup(sentence: str) -> str:
    sentence = _ROLE.sub(r"\1", sentence).replace("``", "`")
    sentence = re.sub(r"`([^`]*)`", r"\1", sentence)
    sentence = re.sub(r"(?<![\w*])\*{1,2}(\w[\w ]*)\*{1,2}(?![\w*])", r"\1", sentence)
    return _capitalized(sentence.strip())


def _capitalized(text: str) -> str:
    """`text` with a capital first letter, unless its first word is an identifier."""
    first = re.match(r"\w+", text)
    if first and first.group().isalpha() and not text[first.end() :].startswith(("(", ".", "_")):
        return text[0].upper() + text[1:]
    return text


def _is_good(sentence: str) -> bool:
    return (
        MIN_CHARACTERS <= len(sentence) <= MAX_CHARACTERS
        and sentence.isascii()
        and sentence.isprintable()
        and sentence.endswith(".")
        and not sentence.endswith("..")
        and sentence[0].isalpha()
        and " " in sentence
        # Together, since a half-open interval such as [0, 1) is fine.
        and len(re.findall(r"[(\[]", sentence)) == len(re.findall(r"[)\]]", sentence))
        and sentence.count('"') % 2 == 0
        and not _BOILERPLATE.search(sentence)
    )
