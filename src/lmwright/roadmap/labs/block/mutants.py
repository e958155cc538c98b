"""Wrong streams, each with the idea that it misses."""

from collections.abc import Callable, Sequence

from torch import Tensor

from lmwright.models.layers.block import Placement, Sublayer
from lmwright.roadmap.properties import Mutant

Drop = Callable[[Tensor], Tensor]


def _in_turn(
    x: Tensor, sublayers: Sequence[Sublayer], placement: str, drop: Drop, wrong: str
) -> Tensor:
    """Sublayer after sublayer, wrong in one place."""
    start = x
    if wrong == "two at most" and len(sublayers) > 2:
        sublayers = (sublayers[0], sublayers[-1])
    for layer in sublayers:
        before = sublayers[0].before if wrong == "one norm" else layer.before
        seen = before(start if wrong == "all read x" else x)
        if wrong == "norm twice":
            seen = before(seen)
        if wrong == "no norm before":
            seen = x
        change = layer.compute(seen.detach() if wrong == "detached" else seen)
        if wrong == "asked twice":
            change = (change + layer.compute(seen)) / 2
        way = seen if wrong == "normalised stream" and placement != "post" else x
        if wrong == "no way around":
            way = x * 0.0
        x = _added(way, change, layer, placement, drop, wrong)
    return x


def _added(
    x: Tensor, change: Tensor, layer: Sublayer, placement: str, drop: Drop, wrong: str
) -> Tensor:
    if wrong == "drops all":
        return (
            drop(x + layer.after(change)) if placement == "both" else layer.after(drop(x + change))
        )
    if wrong == "no drop":
        return x + layer.after(change) if placement == "both" else layer.after(x + change)
    if placement == "both" and wrong != "sum normalised":
        if wrong == "change not normalised":
            return x + drop(change)
        return x + (
            layer.after(drop(change)) if wrong == "early drop" else drop(layer.after(change))
        )
    if placement == "post" and wrong == "change normalised":
        return x + drop(layer.after(change))
    if placement == "post" and wrong == "not after":
        return x + drop(change)
    return layer.after(x + drop(change))


def _parallel(x: Tensor, sublayers: Sequence[Sublayer], drop: Drop, wrong: str) -> Tensor:
    if wrong == "never parallel":
        return _in_turn(x, sublayers, "pre", drop, wrong)
    total = x
    for layer in sublayers:
        before = sublayers[0].before if wrong == "one norm" else layer.before
        seen = before(x)
        change = layer.compute(seen.detach() if wrong == "detached" else seen)
        if wrong == "asked twice":
            change = (change + layer.compute(seen)) / 2
        if wrong == "drops all":
            total = drop(total + change)
        else:
            total = total + (change if wrong == "no drop" else drop(change))
        if wrong == "added twice":
            total = total + x
    return total


def _mutant(wrong: str, says: str) -> Mutant:
    def residual_stream(
        x: Tensor, sublayers: Sequence[Sublayer], placement: Placement, parallel: bool, drop: Drop
    ) -> Tensor:
        if parallel:
            return _parallel(x, sublayers, drop, wrong)
        return _in_turn(x, sublayers, placement, drop, wrong)

    return Mutant(says, residual_stream)


MUTANTS = (
    _mutant(
        "no way around", "a block without a way around its sublayers: the stream itself is lost"
    ),
    _mutant("normalised stream", "a block that adds to the normalised stream, not to the stream"),
    _mutant(
        "no norm before", "a block whose sublayers read the stream as it is, without their norm"
    ),
    _mutant("norm twice", "a block that normalises twice before each sublayer"),
    _mutant("all read x", "a block whose sublayers all read the stream as it came in"),
    _mutant("one norm", "a block that uses its first norm before every sublayer"),
    _mutant(
        "two at most", "a block that leaves out what stands between its first and last sublayer"
    ),
    _mutant(
        "not after", 'a block that does not look at "post": nothing is normalised after the sum'
    ),
    _mutant("change normalised", '"post" that normalises the change, where it must be the sum'),
    _mutant("sum normalised", '"both" that normalises the sum, where it must be the change alone'),
    _mutant("change not normalised", '"both" without its second norm'),
    _mutant("never parallel", "a block that does not look at `parallel`"),
    _mutant("added twice", "a parallel block that adds the stream once for each sublayer"),
    _mutant("no drop", "a block without dropout"),
    _mutant(
        "drops all", "a block that drops of the stream, too, where only changes may lose something"
    ),
    _mutant("early drop", '"both" that drops before its second norm, which makes up for it again'),
    _mutant("asked twice", "a block that calls its sublayers twice"),
    _mutant("detached", "a block whose sublayers send no gradient back to the stream"),
)
