"""lmwright: one readable stack for the whole life of a language model."""

__version__ = "0.1.0"

import importlib
import os
from typing import TYPE_CHECKING, Any

# Threads that wait for each other in a product spin, by default so long that one more busy process
# on two cores made training ten times slower (docs/experiments.md). Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from lmwright.core.parts import use
    from lmwright.pipeline.python_call import run

__all__ = ["__version__", "run", "use"]

# By name, not by import statements: every step's fingerprint follows the imports of this file, and
# a change in the pipeline must not re-run a training.
_LAZY = {"run": "lmwright.pipeline.python_call", "use": "lmwright.core.parts"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if os.environ.get("LMWRIGHT_USE"):
    # Before anything else of ours is imported: parts that the command put in production's place
    # stand there in the processes that it starts, too.
    importlib.import_module("lmwright.core.parts").install()
