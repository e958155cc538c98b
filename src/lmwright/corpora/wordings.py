"""How people ask what a name does: wordings to train on, and others to be judged by.

The variety of the training wordings decides how well a small model understands wordings it never
saw: with the same training time six of them gave 0.75 exact match on a new one, 32 with small noise
1.00 (measured, one seed). The held-out ones share no five words in a row with the training ones.
"""

import random
import re
from dataclasses import dataclass
from typing import Literal

from lmwright.corpora.common_words import common_words, rare_words

NAME = "{name}"
Message = dict[str, str]
Form = Literal["plain", "no question mark", "lower case", "typo", "second turn"]
FORMS: tuple[Form, ...] = ("plain", "no question mark", "lower case", "typo", "second turn")

TRAINING = (
    "What does {name} do?",
    "What is {name}?",
    "What's {name}?",
    "What is {name} for?",
    "What is {name} used for?",
    "What does {name} mean?",
    "What does Python's {name} do?",
    "What happens when I call {name}?",
    "What will {name} do for me?",
    "What would I use {name} for?",
    "What is the job of {name}?",
    "What is the purpose of {name}?",
    "What is the meaning of {name} in Python?",
    "What exactly does {name} do?",
    "What can {name} be used for?",
    "What can you tell me about {name}?",
    "What do the docs say about {name}?",
    "What kind of thing is {name}?",
    "Explain {name}.",
    "Explain {name} to me.",
    "Explain to me what {name} does.",
    "Please explain what {name} is.",
    "Could you explain {name}?",
    "Can you explain what {name} does?",
    "Describe {name}.",
    "Describe what {name} does.",
    "Describe the Python name {name}.",
    "Describe {name} in one sentence.",
    "Tell me about {name}.",
    "Tell me what {name} does.",
    "Tell me what {name} is for.",
    "Give me a summary of {name}.",
    "Give a short description of {name}.",
    "Give me the docs of {name}.",
    "Summarize {name}.",
    "Summarize what {name} does.",
    "Define {name}.",
    "How would you describe {name}?",
    "How does {name} work?",
    "How do the docs describe {name}?",
    "How is {name} documented?",
    "I want to know what {name} does.",
    "I need to know about {name}.",
    "I do not know {name}. What is it?",
    "I found {name} in some code. What does it do?",
    "I am reading about {name}, what is that?",
    "I wonder what {name} does.",
    "Do you know {name}?",
    "Do you know what {name} is for?",
    "Can you tell me what {name} does?",
    "Could you tell me about {name}?",
    "Could you say what {name} is?",
    "Why would someone use {name}?",
    "When do I use {name}?",
    "Help me understand {name}.",
    "Show me the documentation for {name}.",
    "Look up {name}.",
    "Look up {name} for me.",
    "In Python, what does {name} do?",
    "In Python, what is {name}?",
    "Quick question: what does {name} do?",
    "Python question: what is {name}?",
    "The name is {name}. What does it do?",
    "{name}: what does it do?",
    "{name}: what is that?",
    "{name} - what is it for?",
    "{name}?",
    "{name}",
    "{name}, please explain.",
    "{name} does what?",
    "help({name})",
)
# Only as a later turn: they lean on the question before.
TRAINING_FOLLOW_UPS = (
    "And {name}?",
    "And what does {name} do?",
    "What about {name}?",
    "Now {name}.",
    "Okay, and {name}?",
    "Thanks. What is {name}?",
    "Next: {name}",
    "Good. Then what is {name} for?",
)


@dataclass(frozen=True)
class HeldOut:
    """A wording to be judged by.

    Args:
        clean: the wording without its typo.
        typo: the same with one misspelt word, never the name's.
    """

    clean: str
    typo: str


VALIDATION = (
    HeldOut("Mind telling me the role of {name}?", "Mind telling me teh role of {name}?"),
    HeldOut("Say in a few words what {name} is about.", "Say in a few wrods what {name} is about."),
    HeldOut(
        "A colleague mentioned {name}; any idea what that is?",
        "A collegue mentioned {name}; any idea what that is?",
    ),
    HeldOut("For what reason does {name} exist?", "For what raeson does {name} exist?"),
    HeldOut("Remind me, {name} is good for what?", "Remnid me, {name} is good for what?"),
    HeldOut("Which task does {name} perform?", "Which taks does {name} perform?"),
    HeldOut("Let me hear your explanation of {name}.", "Let me hear your explantion of {name}."),
    HeldOut("So {name}, how should I think of it?", "So {name}, how shuold I think of it?"),
)
TEST = (
    HeldOut("What's the point of {name}?", "What's the piont of {name}?"),
    HeldOut(
        "I keep seeing {name}, what's the idea behind it?",
        "I keep seeing {name}, what's the idae behind it?",
    ),
    HeldOut(
        "Would you mind clarifying {name} for a beginner?",
        "Would you mind clarifyng {name} for a beginner?",
    ),
    HeldOut("Which result do I get out of {name}?", "Which reslut do I get out of {name}?"),
    HeldOut(
        "Someone used {name} here and I'm puzzled, care to enlighten me?",
        "Somone used {name} here and I'm puzzled, care to enlighten me?",
    ),
    HeldOut(
        "Write one line of documentation about {name}.",
        "Write one line of documentaion about {name}.",
    ),
    HeldOut(
        "Under what circumstances is {name} useful?", "Under what circumstances is {name} usefull?"
    ),
    HeldOut("Got a brief definition of {name}?", "Got a breif definition of {name}?"),
    HeldOut("Break down {name} for me, will you?", "Braek down {name} for me, will you?"),
    HeldOut(
        "The function of {name} is what, precisely?", "The fucntion of {name} is what, precisely?"
    ),
)

FREE_SHARE = 0.6
"""Of the training questions: worded by chance, see `free_wording`. With 71 written wordings alone
a model of 4 M parameters took strange company for a strange name: of real names in the held-out
wordings it denied 0.68 after 800 steps (docs/experiments.md)."""

_GREETINGS = (
    "Hi, ",
    "Hi! ",
    "Hello, ",
    "Hello! ",
    "Hey, ",
    "Hey ",
    "Hi there, ",
    "Please: ",
    "Ok, ",
)
_CLOSINGS = (" Thanks!", " Thanks", " Thank you.", " please", " Please.", " thx")
_MARKS = ("`{name}`", "{name}()", "'{name}'", '"{name}"')
_WORD = re.compile(r"\{name\}|[A-Za-z]{3,}")


def fill(wording: str, name: str) -> str:
    """`wording` with the name in its place."""
    return wording.replace(NAME, name)


def training_question(
    rng: random.Random, name: str, *, follow_up: bool = False, by_chance: bool = False
) -> str:
    """A training wording about `name` with small noise; the name itself stays as it is.

    Args:
        rng: source of randomness.
        name: what is asked about.
        follow_up: whether a question came before.
        by_chance: whether `free_wording` words it, rather than one of the written wordings.

    Noise: letter case, a missing full stop or question mark, a greeting, thanks, a typo, the name
    in quotes or with parentheses.
    """
    choices = TRAINING_FOLLOW_UPS if follow_up and rng.random() < 0.5 else TRAINING
    text = free_wording(rng, name) if by_chance else rng.choice(choices)
    if rng.random() < 0.15:
        text = with_typo(text, rng)
    if rng.random() < 0.15:
        greeting = rng.choice(_GREETINGS)
        text = greeting + (text if rng.random() < 0.5 else text[0].lower() + text[1:])
    if rng.random() < 0.35:
        text = text.rstrip("?.")
    if rng.random() < 0.08:
        text += rng.choice(_CLOSINGS)
    if rng.random() < 0.30:
        text = lower_case(text)
    elif rng.random() < 0.02:
        text = upper_case(text)
    if "(" not in text and rng.random() < 0.10:
        text = text.replace(NAME, rng.choice(_MARKS))
    return fill(text, name)


def free_wording(rng: random.Random, name: str) -> str:
    """Words in no order around the name, so that only the name can tell the answer.

    Half of them are English's commonest and half come from all over Python's help texts, some
    misspelt: the company of a name says nothing, however odd it is.
    """
    # Mostly a few words, sometimes many: the smaller of two draws.
    before, after = (min(rng.randrange(12), rng.randrange(12)) for _ in range(2))
    words = [_free_word(rng, name) for _ in range(before + after)]
    lead, tail = words[:before], words[before:]
    for part in (lead, tail):
        if part and rng.random() < 0.4:
            part[rng.randrange(len(part))] += rng.choice(",,;:?.")
    text = " ".join([*lead, NAME, *tail]).rstrip(",;:")
    if lead and rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("?", "?", "?", ".", "!", ""))


def _free_word(rng: random.Random, name: str) -> str:
    word = rng.choice(common_words() if rng.random() < 0.5 else rare_words())
    if word == name:
        return "it"
    return with_typo(word, rng) if rng.random() < 0.1 else word


def held_out_question(wording: HeldOut, form: Form, name: str) -> str:
    """One form of a held-out wording about `name`; the second turn's own words are plain."""
    text = wording.typo if form == "typo" else wording.clean
    if form in ("no question mark", "lower case"):
        text = text.rstrip("?.")
    if form == "lower case":
        text = lower_case(text)
    return fill(text, name)


def lower_case(wording: str) -> str:
    """`wording` in lower case; the name's place is in lower case already."""
    return wording.lower()


def upper_case(wording: str) -> str:
    """`wording` in capitals, but for the name's place."""
    return wording.upper().replace(NAME.upper(), NAME)


def with_typo(wording: str, rng: random.Random) -> str:
    """`wording` with one word misspelt by one edit: letters swapped, dropped or doubled."""
    words = [m for m in _WORD.finditer(wording) if m.group() != NAME]
    if not words:
        return wording
    word = rng.choice(words)
    start = word.start() + rng.randrange(1, len(word.group()) - 1)
    first, second = wording[start], wording[start + 1]
    edited = rng.choice((second + first, first, second, first + first + second))
    return wording[:start] + edited + wording[start + 2 :]
