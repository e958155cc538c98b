"""Packed weights on disk, so that a model is quantised and packed once and not at every start.

An entry is found by what it was made of: the model's weights and modules, the wanted format, and
the sources that pack. So it is never out of date, wherever the model lies. Its file is mapped and
its weights are used where they lie, by all processes that run the model: 330 MB are open in 0.06 s,
where copying them takes 0.4. Packed anew, weights lie in huge pages instead, and a pass is 2 %
faster (12 x 768, fp32 and int8, in a virtual machine).
"""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lmwright.compression import rounding
from lmwright.core.errors import LmwrightError
from lmwright.engine.native import Weights, build
from lmwright.engine.native.library import Format
from lmwright.engine.native.pack import Packed
from lmwright.models.transformer import Decoder

log = logging.getLogger(__name__)

LIMIT = "LMWRIGHT_PACKED_CACHE_GB"
"""Environment variable: most gigabytes that entries take together; 0 switches the cache off."""
_USUAL_LIMIT = 8.0
_SMALLEST = 8_000_000  # bytes of a model; smaller ones are packed in less than a tenth of a second
_ABANDONED = 3_600  # seconds after which an unfinished file is nobody's any more
_ALIGNED = 64  # bytes: where kernels expect panels to begin
_PAGE = 4_096  # bytes that are added up to one word of a checksum
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """Where a model's packed weights are, or will be.

    Args:
        path: the file, whether it exists or not.
        limit: most bytes that the folder's entries may take together.
    """

    path: Path
    limit: int

    def read(self) -> dict[str, Packed]:
        """The packed layers by name; none if they are not there, or damaged: then they are removed.

        Their bits are those that were written.
        """
        if not self.path.exists():
            return {}
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            # The first pass reads everything anyway. So damage is found before it is computed with.
            if _checksum(stored, metadata["layers"]) != metadata["checksum"]:
                raise ValueError("its checksum differs")
            layers = {
                name: _opened(name, stored, *shape)
                for name, shape in json.loads(metadata["layers"]).items()
            }
            os.utime(self.path)  # the last to be removed
        except (SafetensorError, LookupError, TypeError, ValueError, OSError) as error:
            log.warning("packed weights in %s are damaged, packed anew: %s", self.path, error)
            with contextlib.suppress(OSError):
                self.path.unlink()
            return {}
        return layers

    def write(self, layers: Mapping[str, Packed]) -> None:
        """Keep packed layers for the next start; whole or not at all.

        The oldest entries make room. A folder that cannot be written costs the next start time, and
        nothing else.
        """
        tensors: dict[str, Tensor] = {}
        for name, packed in layers.items():
            parts = {"values": packed.values, "scales": packed.row_scales, "bias": packed.bias}
            tensors |= {f"{name}.{p}": part for p, part in parts.items() if part is not None}
        room = self.limit - sum(tensor.nbytes for tensor in tensors.values())
        if room < 0:
            log.info("packed weights are larger than %s allows: not kept", LIMIT)
            return
        shapes = json.dumps(
            {n: (p.format, p.rows, p.columns, p.factor, p.group) for n, p in layers.items()}
        )
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(self.path.parent, room)
            # Not synced: after a power cut the checksum finds what is missing.
            metadata = {"layers": shapes, "checksum": _checksum(tensors, shapes)}
            _save(tensors, temporary, metadata)
            os.replace(temporary, self.path)
        except OSError as error:
            log.info("packed weights are not kept: %s", error)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def entry(model: Decoder, wanted: Weights) -> Entry | None:
    """Where a model's packed weights belong; None: nowhere, it is small or the cache is off.

    Args:
        model: a decoder on the CPU, as it will be packed.
        wanted: how weights are to lie in memory.

    Raises:
        LmwrightError: if the environment's limit is no size.
    """
    limit = _limit()
    state = model.state_dict()
    if not limit or sum(tensor.nbytes for tensor in state.values()) < _SMALLEST:
        return None
    digest = hashlib.sha256(f"{_packers()} {wanted} {model.config.model_dump_json()}".encode())
    for name, module in model.named_modules():
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        digest.update(f"{name} {kind} {module.extra_repr()}\0".encode())
    digest.update(_checksum(state, "").encode())
    return Entry(build.cache_folder("packed") / f"{digest.hexdigest()[:32]}{_SUFFIX}", limit)


def _limit() -> int:
    """Bytes that all entries may take together."""
    given = os.environ.get(LIMIT) or str(_USUAL_LIMIT)
    try:
        return int(max(float(given), 0.0) * 1e9)
    except (ValueError, OverflowError) as error:
        raise LmwrightError(
            f"{LIMIT} is {given!r}, which is no size",
            hint="give a number of gigabytes, such as 8; 0 switches the cache off",
        ) from error


@cache
def _packers() -> str:
    """Changes with the sources that decide which bits are packed, and how they are stored."""
    here = Path(__file__).parent
    paths = [here / f"{name}.py" for name in ("cache", "library", "model", "pack")]
    paths.append(Path(rounding.__file__))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def _checksum(tensors: Mapping[str, Tensor], beside: str) -> str:
    """Of names, types, shapes and contents, by no intent to deceive.

    SHA-256 over the sums of each 4 KiB as 64-bit words: as fast as memory, 40 times faster than
    over the bytes themselves where the processor has no instructions for it.
    """
    digest = hashlib.sha256(beside.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        raw = tensor.reshape(-1).view(torch.uint8)
        whole = len(raw) // _PAGE * _PAGE
        if raw.storage_offset() % 8:
            raw = raw.clone()
        digest.update(raw[:whole].view(torch.int64).view(-1, _PAGE // 8).sum(1).numpy().tobytes())
        digest.update(raw[whole:].numpy().tobytes())
    return digest.hexdigest()


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """A safetensors file like any other, with each tensor where kernels may read it in place."""
    names = {torch.uint8: "U8", torch.float32: "F32"}
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        assert tensor.nbytes % _ALIGNED == 0, "panels and what is padded to them are aligned"
        offsets, end = [end, end + tensor.nbytes], end + tensor.nbytes
        kind = names[tensor.dtype]
        header[name] = {"dtype": kind, "shape": [*tensor.shape], "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNED)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            tensor.numpy().tofile(file)


def _opened(
    name: str,
    stored: Mapping[str, Tensor],
    kind: int,
    rows: int,
    columns: int,
    factor: float,
    group: int,
) -> Packed:
    """A layer as it lies in the file."""
    values, scales, bias = (
        # A file that another program wrote anew may have moved what is in it.
        part.clone() if part is not None and part.data_ptr() % _ALIGNED else part
        for part in (stored.get(f"{name}.{what}") for what in ("values", "scales", "bias"))
    )
    assert values is not None, "the checksum covers it"
    return Packed(Format(kind), rows, columns, values, scales, bias, factor, group)


def _make_room(folder: Path, most: int) -> None:
    """Remove what was not used for longest until entries take at most `most` bytes."""
    for part in folder.glob(".*.part"):
        if time.time() - part.stat().st_mtime > _ABANDONED:
            part.unlink(missing_ok=True)
    found = [(path, path.stat()) for path in folder.glob(f"*{_SUFFIX}")]
    total = sum(stat.st_size for _, stat in found)
    for path, stat in sorted(found, key=lambda one: one[1].st_mtime):
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
