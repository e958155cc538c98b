"""What a step is: a typed function, its config, and the kinds of artefact it takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lmwright.core.config import Config


@dataclass(frozen=True)
class Estimate:
    """What a step will need, said before it runs.

    Args:
        bytes: peak memory of the step's process, in bytes; None where unknown.
        seconds: wall time on a machine like this one; None where unknown or where the budget rules.
        text: sizes in words, such as "4.2 M parameters, 2,048 tokens in the vocabulary".
    """

    bytes: int | None = None
    seconds: float | None = None
    text: str = ""


@dataclass(frozen=True)
class StepType:
    """A kind of step that recipes can name; the function itself is imported only to run it.

    Args:
        name: `ROOM.verb`, such as "training.pretrain".
        config: the step's frozen config; its fields are the keys a recipe may set.
        function: "module:function" of `function(config, run, *, input=Path, ...) -> None`.
        inputs: name of each input and the kind of artefact it must be.
        optional: inputs that may be absent; the function then gets None for them.
        gathers: kind of artefact of which every earlier step's is an input too, under that step's
            name: for steps that compare what the recipe made.
        output: kind of artefact that the function writes into `run.output`.
        needs: kinds of records the corpus must have for this step to apply.
        provides: "module:function" from the config to the set of record kinds; corpus steps only,
            torch-free, since it is asked before step 1.
        reads: "module:function" from the config to the files and folders outside the run that the
            step reads, whose content then counts in the fingerprint; torch-free. Without it, the
            config's `Path` values and its `path` count.
        estimate: "module:function" from the config to an `Estimate`; torch-free.
        summary: one line for `--help` and the plan.
    """

    name: str
    config: type[Config]
    function: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    gathers: str = ""
    output: str = ""
    needs: frozenset[str] = frozenset()
    provides: str | None = None
    reads: str | None = None
    estimate: str | None = None
    summary: str = ""
