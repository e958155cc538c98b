"""What the labs' gate finds of one lab, and what it takes to pass."""

from dataclasses import dataclass, field

MOST_SECONDS = 20.0
"""That a check may take."""
LEAST_AUTOMATIC, LEAST_NAMED = 0.95, 0.80
"""Shares of the automatic mutants that must be refused, of the shipped ones that must be named."""


@dataclass(frozen=True)
class Tally:
    """How many of some wrong answers were refused.

    Args:
        refused, of: counts.
        accepted: the others, one line each.
    """

    refused: int = 0
    of: int = 0
    accepted: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of those refused; 1 where there is none."""
        return self.refused / self.of if self.of else 1.0

    def __str__(self) -> str:
        return f"{self.refused}/{self.of}"


@dataclass(frozen=True)
class Findings:
    """What was found of one lab.

    Args:
        lab: its id.
        seeds: that production was checked with.
        right_refused: right answers that were refused, one line each.
        mutants: shipped ones, at each of their seeds.
        named: shipped mutants whose diagnosis was their own, at each of their seeds.
        universal: damaged answers.
        not_applicable: damages that leave every answer of this part as it is.
        automatic: mutants of production's source.
        equivalent: how many more of these the lab declares to be no mutants, with its reasons.
        problems: whatever else is wrong with the lab.
        check_seconds: of one check of production, median.
        total_seconds: that all this took.
    """

    lab: str
    seeds: int = 0
    right_refused: tuple[str, ...] = ()
    mutants: Tally = field(default_factory=Tally)
    named: Tally = field(default_factory=Tally)
    universal: Tally = field(default_factory=Tally)
    not_applicable: tuple[str, ...] = ()
    automatic: Tally = field(default_factory=Tally)
    equivalent: int = 0
    problems: tuple[str, ...] = ()
    check_seconds: float = 0.0
    total_seconds: float = 0.0

    def failings(self) -> list[str]:
        """Why the lab does not pass, one line each; empty if it does."""
        found = [f"refuses what is right: {line}" for line in self.right_refused]
        found += [f"accepts a shipped mutant: {line}" for line in self.mutants.accepted]
        found += [f"accepts a universal wrong answer: {line}" for line in self.universal.accepted]
        for what, tally, least in (
            ("refuses", self.automatic, LEAST_AUTOMATIC),
            ("names", self.named, LEAST_NAMED),
        ):
            if tally.share < least:
                kind = "automatic" if tally is self.automatic else "shipped"
                found.append(f"{what} {tally.share:.1%} of the {kind} mutants, not {least:.0%}")
        if self.check_seconds > MOST_SECONDS:
            found.append(f"takes {self.check_seconds:.1f} s, more than {MOST_SECONDS:.0f} s")
        return found + list(self.problems)

    def remarks(self) -> list[str]:
        """What its author may want to look at although it does not fail the lab."""
        found = [f"survives: {line}" for line in self.automatic.accepted]
        return found + [f"not named: {line}" for line in self.named.accepted]
