"""Recognising an answer that says "I don't know that name." in whatever words."""

import re

# Only the opening counts, and only in the speaker's own voice or about "that name": documentation
# says "not found", "unknown" and "does not exist" of keys and files all the time.
_PREAMBLE = r"(?:(?:sorry|apologies|unfortunately|hmm+|well|oh|no)\b[\s,.!:;]*)*(?:but\s+)?"
_AFRAID = r"(?:i(?: am|'m) (?:afraid|sorry)[\s,]*(?:but |that )?)?"
_NOT = r"(?:do not|don'?t|did not|didn'?t|can ?not|can'?t|could not|couldn'?t)"
_THING = r"(?:name|function|method|class|module|attribute|object|builtin|built-in|thing)"
_SAYINGS = (
    rf"i {_NOT} (?:\w+ ){{0,2}}(?:know|recogni[sz]e|recall|find|tell|think)\b",
    rf"i {_NOT} have (?:any |a )?(?:information|documentation|knowledge|record|idea|clue)\b",
    r"i(?: have|'ve)? (?:no|never) (?:idea|clue|information|documentation|knowledge|record)\b",
    r"i(?: have|'ve)? never (?:heard|seen|met|come across)\b",
    r"i(?: am|'m) (?:not (?:familiar|aware|sure|certain)|unfamiliar|unaware|unsure)\b",
    rf"(?:that|this) {_THING} (?:is (?:not known|unknown|not documented|not familiar)"
    r"|isn'?t (?:known|documented|familiar)|does(?: not|n'?t) (?:seem to )?exist)\b",
    rf"(?:there(?: is|'s) )?no such {_THING}\b",
    r"(?:it|that|this) does(?: not|n'?t) (?:seem to )?exist\b",
    r"unknown name\b",
)
_ABSTENTION = re.compile(rf"\W*{_PREAMBLE}{_AFRAID}(?:{'|'.join(_SAYINGS)})", re.IGNORECASE)


def abstained(answer: str) -> bool:
    """Whether `answer` opens by saying that the speaker does not know, in any usual wording.

    >>> abstained("I don't know that name.")
    True
    >>> abstained("Sorry, I'm not familiar with that function.")
    True
    >>> abstained("Raise KeyError if the name is not known.")
    False
    """
    return _ABSTENTION.match(" ".join(answer.replace("’", "'").split())) is not None
