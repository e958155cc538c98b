"""Whether published weights are those that a config describes; what is not is called by the name
that it has in the file, however our model holds it."""

from collections.abc import Callable, Mapping
from collections.abc import Set as Names
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lmwright.core.errors import LmwrightError

_NAMED = 5  # weights listed in an error before "and N more"


@dataclass(frozen=True)
class Fit:
    """Published weights beside those that were expected.

    Args:
        expected: what a folder of the model would hold, by published name.
        given: what there is, by published name.
        ours: a published name -> the names of the weights that it becomes.
        shown: a published name, or one of ours, as the file has it.
    """

    expected: Mapping[str, Tensor]
    given: Mapping[str, Tensor]
    ours: Callable[[str], tuple[str, ...]]
    shown: Callable[[str], str]

    def misshapen(self) -> list[str]:
        """Published names of what has another shape than expected."""
        return [
            name
            for name, want in self.expected.items()
            if name in self.given and self.given[name].shape != want.shape
        ]

    def strays(self, places: Names[str]) -> dict[str, Tensor]:
        """What would become none of the weights that are named in `places`."""
        return {
            name: weight
            for name, weight in self.given.items()
            if name not in self.expected and not places & set(self.ours(name))
        }

    def check(
        self,
        state: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        misshapen: list[str],
        folder: Path,
    ) -> None:
        """Compare the model's state with the weights made for it.

        Args:
            state: the empty model's.
            weights: under our names; what has no place there under its published one.
            misshapen: published names that were left out of `weights` for their shapes.
            folder: where they come from, for the message.

        Raises:
            LmwrightError: naming what is missing, left over or of another shape.
        """
        lacking = {name for name in state if name not in weights}
        missing = [
            name
            for name in self.expected
            if name not in self.given and lacking & set(self.ours(name))
        ]
        extra = [n for n in weights if n not in state and n not in self.expected]
        wrong = [
            f"{self.shown(n)} is {_shape(self.given[n])}, "
            f"config.json says {_shape(self.expected[n])}"
            for n in misshapen
        ] + [
            f"{self.shown(n)} is {_shape(weights[n])}, config.json says {_shape(want)}"
            for n, want in state.items()
            if n in weights and weights[n].shape != want.shape
        ]
        problems = [
            f"{kind}: {_listing(found)}"
            for kind, found in (
                ("missing weights", [self.shown(name) for name in missing]),
                ("weights without a place", [self.shown(name) for name in extra]),
                ("weights of another shape", wrong),
            )
            if found
        ]
        if problems:
            raise LmwrightError(
                f"{folder} does not hold the model it describes; {'; '.join(problems)}"
            )


def _shape(weight: Tensor) -> tuple[int, ...]:
    return tuple(weight.shape)


def _listing(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
