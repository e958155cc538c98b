"""Words from which wordings that no one wrote are drawn: English's commonest, and the docs' own."""

import builtins
import functools
import re
import sys
from collections import Counter

_COMMON = """
the be to of and a in that have it for not on with he as you do at this but his by from they
we say her she or an will my one would there their what so up out if about who get which go me
when make can like no just him know take people into year your good some could them see other
than then now look only come its over think also back after use two how our work first well
way even new want because these give day most us is are was were been has had did does said
got made found used called really always never often still again here where why while before
between both each few more many much own same such too very should must may might shall let
put keep try ask tell seem feel become leave mean show hear play run move live believe bring
happen write sit stand lose pay meet include continue change lead understand watch follow stop
create speak read spend grow walk win offer remember love consider appear buy wait serve die
send expect build stay fall cut reach kill remain thing man world life hand part child eye
woman place week case question government number night word home water room mother area money
story fact month lot right study book job business issue side kind head house friend father
power hour game line end member law car city community name president team minute idea body
information nothing ago school maybe little old big small long high different large next early
young important public bad able better best sure clear whole free real easy hard strong
possible late simple quick short brief yes please thanks ok hello hi hey um actually basically
currently exactly probably perhaps somebody someone something anything everything anyone
everyone colleague teacher boss beginner student today yesterday tomorrow morning program
script function method module class library docs documentation manual
i'm i've i'd it's that's what's there's don't doesn't can't won't isn't let's you're we're they're
"""
"""Some three hundred and fifty, by frequency in general English, and some of a programmer's day."""

RARE = 4_000
"""Words taken from Python's own help texts, the most frequent first."""


@functools.cache
def common_words() -> tuple[str, ...]:
    """English's commonest words, in order of frequency; none is a name of Python's."""
    return _without_names(dict.fromkeys(_COMMON.split()))


@functools.cache
def rare_words() -> tuple[str, ...]:
    """Words of `pydoc`'s help topics that are not common: nearly every token there is."""
    from pydoc_data.topics import topics

    text = " ".join(topics[key] for key in sorted(topics))
    counts = Counter(re.findall(r"\b[a-z]{2,14}\b", text))
    common = set(common_words())
    return _without_names({w: None for w, _ in counts.most_common(RARE) if w not in common})


def _without_names(words: dict[str, None]) -> tuple[str, ...]:
    # `any` or `time` beside the name asked about would be a second question.
    return tuple(w for w in words if not hasattr(builtins, w) and w not in sys.stdlib_module_names)
