"""lmwright: one readable stack for the whole life of a language model."""

__version__ = "0.1.0"

import os
from typing import TYPE_CHECKING, Any

# Threads that wait for each other in a product spin, by default so long that one more busy process
# on two cores made training ten times slower (docs/experiments.md). Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from lmwright.pipeline.python_call import run

__all__ = ["__version__", "run"]


def __getattr__(name: str) -> Any:
    # By name, not by an import statement: every step's fingerprint follows the imports of this
    # file, and a change in the pipeline must not re-run a training.
    if name == "run":
        import importlib

        return importlib.import_module("lmwright.pipeline.python_call").run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
