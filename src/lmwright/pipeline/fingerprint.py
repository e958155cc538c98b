"""The fingerprint of a step: equal fingerprints give equal results, so the result is kept."""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lmwright.core.files import sha256_tree
from lmwright.pipeline.catalog import load_function
from lmwright.pipeline.closure import code_digests
from lmwright.pipeline.parts_used import part_digests
from lmwright.pipeline.recipe import Recipe, Step


@dataclass(frozen=True)
class Fingerprint:
    """What a step's result depends on, part by part.

    Args:
        step: the function that makes it.
        code: source of the modules that its function may load -> digest.
        config: its config as JSON values.
        inputs: digest of each input's content, None where absent.
        reads: files and folders outside the run that it reads -> digest.
        versions: of Python and torch.
        time: the recipe's budget and the step's share, where they decide how long it trains.
        part: the reader's own parts that its function may call -> digest of their code.
    """

    step: Mapping[str, str]
    code: Mapping[str, str]
    config: Mapping[str, Any]
    inputs: Mapping[str, str | None]
    reads: Mapping[str, str]
    versions: Mapping[str, str]
    time: Mapping[str, float] = field(default_factory=dict)
    part: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Hexadecimal SHA-256 of all parts."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The parts as plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    def changes_since(self, earlier: Mapping[str, Any]) -> str:
        """In words, what differs from an earlier fingerprint's `to_json()`."""
        said = []
        for kind, value in self.to_json().items():
            before = earlier.get(kind, {})
            changed = sorted(
                key for key in {*value, *before} if value.get(key, "") != before.get(key, "")
            )
            if changed:
                shown = ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")
                said.append(f"{kind} ({shown})")
        return " and ".join(said)


def fingerprint(
    recipe: Recipe,
    step: Step,
    inputs: Mapping[str, str | None],
    reads: Mapping[str, Mapping[str, str]],
) -> Fingerprint:
    """The fingerprint of a step as it would run now.

    Args:
        recipe: the recipe, for its budget.
        step: the step.
        inputs: digest of each input's content.
        reads: what `read_digests` gives.
    """
    on_share = recipe.budget is not None and step.share is not None and step.trains_on_share
    code = code_digests(step.type.function.partition(":")[0])
    return Fingerprint(
        step={"function": step.type.function},
        code=code,
        config=step.config.model_dump(mode="json"),
        inputs=inputs,
        reads={path: entry["digest"] for path, entry in reads.items()},
        versions={
            "python": platform.python_version(),
            "torch": importlib.metadata.version("torch"),
        },
        time={"budget": recipe.budget or 0.0, "share": step.share or 0.0} if on_share else {},
        part=part_digests(code),
    )


def read_digests(step: Step, known: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Digest and signature of each file or folder outside the run that a step reads.

    Args:
        step: the step.
        known: an earlier result; where the signature (names, sizes, times) is the same, its digest
            is taken as it is.
    """
    return {str(path): content_digest(path, known.get(str(path))) for path in _outside(step)}


def content_digest(path: Path, known: Mapping[str, Any] | None) -> dict[str, str]:
    """`{"digest": ..., "signature": ...}` of a file or folder, read only if it may have changed."""
    now = signature(path)
    if known is not None and known.get("signature") == now:
        return {"digest": known["digest"], "signature": now}
    return {"digest": sha256_tree(path), "signature": now}


def signature(path: Path) -> str:
    """Digest of the names, sizes and modification times below `path`; cheap, unlike its content."""
    lines = []
    for file in sorted(_files(path)):
        stat = os.stat(file)
        lines.append(f"{os.path.relpath(file, path)}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(path: Path) -> Iterator[str]:
    if path.is_file():
        yield str(path)
    for folder, _, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in names)


def _outside(step: Step) -> list[Path]:
    if step.type.reads is not None:
        paths = [Path(path) for path in load_function(step.type.reads)(step.config)]
    else:
        paths = list(_paths_in(step.config))
    return [path for path in paths if path.exists()]


def _paths_in(config: BaseModel) -> Iterator[Path]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _paths_in(value)
        elif isinstance(value, Path):
            yield value
        elif isinstance(value, str) and name == "path":
            yield Path(value)
