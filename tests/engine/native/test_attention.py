"""Attention over blocks on CPUs, beside the formula in float64."""

import ctypes
import subprocess
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from lmwright.engine.native import build

# Warnings are errors, except that GCC 12 warns of its own intrinsics' undefined vectors.
FLAGS = (
    "-std=c++17 -O3 -shared -fPIC -pthread -fno-math-errno -DLMW_TEST_ENTRIES "
    "-Wall -Wextra -Werror -Wno-maybe-uninitialized -Wno-uninitialized"
)
TYPES = {"fp32": 0, "bf16": 1, "int8": 2}
THREADS = 2


class Storage(ctypes.Structure):
    """KvStorage of attention.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("keys", "values", "key_scales", "value_scales")),
        *(
            (name, ctypes.c_int)
            for name in ("num_blocks", "block_size", "kv_heads", "head_dim", "type")
        ),
    ]


class Call(ctypes.Structure):
    """AttentionCall of attention.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out")),
        *((name, ctypes.c_long) for name in ("q_stride", "k_stride", "v_stride", "out_stride")),
        *((name, ctypes.c_int) for name in ("tokens", "sequences", "heads")),
        *((name, ctypes.c_void_p) for name in ("query_starts", "context_lengths", "block_tables")),
        ("table_width", ctypes.c_int),
        ("scale", ctypes.c_float),
        ("soft_cap", ctypes.c_float),
        ("window", ctypes.c_int),
        ("alibi_slopes", ctypes.c_void_p),
        ("kv", Storage),
    ]


@pytest.fixture(scope="module", params=build.INSTRUCTION_SETS)
def native(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """attention.cpp and its test entries, for each instruction set that this machine has."""
    compiler = build.find_compiler()
    if request.param not in build.usable_sets() or compiler is None:
        pytest.skip(f"needs {request.param} and a C++ compiler (found: {compiler})")
    library = tmp_path_factory.mktemp("native") / f"{request.param}.so"
    files = [str(build.SOURCES / name) for name in ("attention.cpp", "attention_test.cpp")]
    flags = f"{FLAGS} {build.INSTRUCTION_SETS[request.param]}".split()
    subprocess.run([compiler, *flags, *files, "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.lmw_test_kv_bytes.restype = ctypes.c_long
    loaded.lmw_test_scale_index.restype = ctypes.c_long
    return loaded


@dataclass
class Layer:
    """A pool and the rule of one layer; whatever was never stored is NaN."""

    native: ctypes.CDLL
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 64
    block_size: int = 16
    type: str = "fp32"
    blocks: int = 400
    scale: float = 0.125
    soft_cap: float = 0.0
    window: int = 0
    slopes: Tensor | None = None
    threads: int = 1
    kept: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.blocks, self.block_size, self.kv_heads, self.head_dim, TYPES[self.type])
        size = self.native.lmw_test_kv_bytes(*shape)
        for name in ("keys", "values"):
            self.kept[name] = np.full(size, 255, np.uint8)
            places = self.blocks * self.block_size * self.kv_heads
            self.kept[f"{name[:-1]}_scales"] = np.full(places, np.nan, np.float32)
        pointers = {name: array.ctypes.data for name, array in self.kept.items()}
        self.storage = Storage(
            **pointers,
            **dict(
                zip(
                    ("num_blocks", "block_size", "kv_heads", "head_dim", "type"), shape, strict=True
                )
            ),
        )

    def attend(self, parts: "list[Part]", threads: int | None = None) -> list[Tensor]:
        """One pass over new tokens of some sequences: (tokens, H, K) for each."""
        q, k, v = (
            torch.cat([getattr(p.text, n)[p.begin : p.end] for p in parts]).contiguous()
            for n in "qkv"
        )
        out = torch.full_like(q, torch.nan)
        lengths = [p.end - p.begin for p in parts]
        width = max(len(p.text.table) for p in parts)
        tables = np.zeros((len(parts), width), np.int32)
        for row, part in zip(tables, parts, strict=True):
            row[: len(part.text.table)] = part.text.table
        starts = np.cumsum([0, *lengths]).astype(np.int32)
        contexts = np.array([p.end for p in parts], np.int32)
        call = Call(
            *(x.data_ptr() for x in (q, k, v, out)),
            *(x.stride(0) for x in (q, k, v, out)),
            len(q), len(parts), self.heads,
            starts.ctypes.data, contexts.ctypes.data, tables.ctypes.data, width,
            self.scale, self.soft_cap, self.window,
            None if self.slopes is None else self.slopes.data_ptr(),
            self.storage,
        )  # fmt: skip
        self.native.lmw_test_pass(ctypes.byref(call), threads or self.threads)
        return list(out.split(lengths))

    def stored(self, text: "Text") -> tuple[Tensor, Tensor]:
        """Keys and values of a sequence as the pool has them: (T, Hkv, K) float64 each."""
        keys, values = (torch.empty(len(text.q), self.kv_heads, self.head_dim) for _ in range(2))
        for position in range(len(text.q)):
            block, slot = text.table[position // self.block_size], position % self.block_size
            for head in range(self.kv_heads):
                key, value = keys[position, head], values[position, head]
                place = (ctypes.byref(self.storage), int(block), slot, head)
                self.native.lmw_test_read(
                    *place, ctypes.c_void_p(key.data_ptr()), ctypes.c_void_p(value.data_ptr())
                )
                if self.type == "int8":
                    scale = self.native.lmw_test_scale_index(*place)
                    key *= float(self.kept["key_scales"][scale])
                    value *= float(self.kept["value_scales"][scale])
        return keys.double(), values.double()

    def expected(self, text: "Text") -> Tensor:
        """What every position of a sequence must see, (T, H, K), from what is stored."""
        k, v = (x.repeat_interleave(self.heads // self.kv_heads, 1) for x in self.stored(text))
        scores = torch.einsum("thk,shk->hts", text.q.double(), k) * self.scale
        if self.soft_cap:
            scores = self.soft_cap * (scores / self.soft_cap).tanh()
        place = torch.arange(len(text.q))
        distance = place[None, :] - place[:, None]
        if self.slopes is not None:
            scores = scores + self.slopes.double()[:, None, None] * distance
        hidden = distance > 0
        if self.window:
            hidden = hidden | (distance <= -self.window)
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        return torch.einsum("hts,shk->thk", weights, v)


@dataclass
class Text:
    """A sequence: queries (T, H, K), keys and values (T, Hkv, K), and its blocks."""

    q: Tensor
    k: Tensor
    v: Tensor
    table: np.ndarray


@dataclass
class Part:
    """The positions begin .. end of a sequence."""

    text: Text
    begin: int
    end: int


class Texts:
    """Draws sequences whose blocks lie anywhere in a layer's pool."""

    def __init__(self, layer: Layer, seed: int) -> None:
        self.layer = layer
        self.torch = torch.Generator().manual_seed(seed)
        self.free = list(np.random.default_rng(seed).permutation(layer.blocks))

    def draw(self, length: int) -> Text:
        layer = self.layer
        q, k, v = (
            torch.randn(length, heads, layer.head_dim, generator=self.torch)
            for heads in (layer.heads, layer.kv_heads, layer.kv_heads)
        )
        blocks = -(-length // layer.block_size)
        taken, self.free = self.free[:blocks], self.free[blocks:]
        return Text(q, k, v, np.array(taken, np.int32))


def relative_error(ours: Tensor, expected: Tensor) -> float:
    """The worst of all tokens' max|Δ| / RMS; later tokens average more, and are smaller."""
    largest = (ours - expected).abs().amax((1, 2))
    return float((largest / expected.square().mean((1, 2)).sqrt()).max())


def check_ragged(layer: Layer, seed: int, longest: int = 1300) -> None:
    """Prefill, continue, and decode sequences of unequal length together; compare every output."""
    texts = Texts(layer, seed)
    rng = np.random.default_rng(seed)
    drawn = [texts.draw(int(n)) for n in (1, 2, 17, 64, 130, *rng.integers(200, longest, 2))]
    outputs: list[list[Tensor]] = [[] for _ in drawn]
    done = [0 for _ in drawn]
    while any(d < len(t.q) for d, t in zip(done, drawn, strict=True)):
        rows = [i for i, t in enumerate(drawn) if done[i] < len(t.q)]
        ends = [min(len(drawn[i].q), done[i] + int(rng.choice([1, 1, 3, 40, 700]))) for i in rows]
        parts = [Part(drawn[i], done[i], end) for i, end in zip(rows, ends, strict=True)]
        for i, end, out in zip(rows, ends, layer.attend(parts), strict=True):
            outputs[i].append(out)
            done[i] = end
    for text, pieces in zip(drawn, outputs, strict=True):
        error = relative_error(torch.cat(pieces), layer.expected(text))
        assert error <= 1e-5


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("block_size", [16, 32])
def test_equals_the_formula(native: ctypes.CDLL, type: str, block_size: int) -> None:
    check_ragged(Layer(native, type=type, block_size=block_size, threads=THREADS), seed=1)


@pytest.mark.parametrize("head_dim", [8, 24, 40, 72, 80, 96, 128, 256])
def test_takes_any_head_dimension(native: ctypes.CDLL, head_dim: int) -> None:
    layer = Layer(native, head_dim=head_dim, heads=2, kv_heads=1, scale=head_dim**-0.5)
    check_ragged(layer, seed=head_dim)


@pytest.mark.parametrize(
    ("heads", "kv_heads"), [(1, 1), (4, 4), (4, 2), (4, 1), (5, 1), (7, 1), (16, 2), (71, 1)]
)
def test_takes_any_group(native: ctypes.CDLL, heads: int, kv_heads: int) -> None:
    check_ragged(
        Layer(native, heads=heads, kv_heads=kv_heads, head_dim=16), seed=heads, longest=600
    )


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"window": 1},
        {"window": 37},
        {"window": 600},
        {"soft_cap": 5.0},
        {"slopes": 2.0 ** -torch.arange(1.0, 7.0)},
        {"window": 100, "soft_cap": 20.0, "slopes": 2.0 ** -torch.arange(1.0, 7.0), "scale": 0.3},
    ],
    ids=lambda options: "+".join(options),
)
def test_keeps_the_rules(native: ctypes.CDLL, type: str, options: dict[str, object]) -> None:
    check_ragged(Layer(native, type=type, head_dim=32, **options), seed=3)  # type: ignore[arg-type]


OPTIONS = [
    {},
    {"type": "bf16", "block_size": 32},
    {"type": "int8", "window": 150, "heads": 5, "kv_heads": 1},
    {"soft_cap": 30.0, "slopes": 2.0 ** -torch.arange(1.0, 7.0), "head_dim": 48},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_an_output_has_the_same_bits_however_it_is_computed(
    native: ctypes.CDLL, options: dict[str, object]
) -> None:
    """At once, in chunks, token by token, among others, on one to three threads."""
    layer = Layer(native, **options)  # type: ignore[arg-type]
    texts = Texts(layer, seed=5)
    text, others = texts.draw(1100), [texts.draw(n) for n in (3, 290, 700)]

    [whole] = layer.attend([Part(text, 0, 1100)])
    for threads in (2, 3):
        [same] = layer.attend([Part(text, 0, 1100)], threads)
        assert torch.equal(same, whole)
    for begin, end in ((0, 1), (1, 50), (50, 513), (513, 1100)):
        parts = [Part(other, 0, len(other.q)) for other in others]
        parts.insert(1, Part(text, begin, end))
        chunk = layer.attend(parts, threads=2)[1]
        assert torch.equal(chunk, whole[begin:end])
    for position in (0, 1, 15, 16, 31, 149, 150, 511, 512, 513, 1023, 1024, 1099):
        part = Part(text, position, position + 1)
        [alone] = layer.attend([part])
        assert torch.equal(alone[0], whole[position])
        tails = [Part(other, len(other.q) - 1, len(other.q)) for other in others]
        among = layer.attend([*tails, part], threads=3)[-1]
        assert torch.equal(among, alone)


def test_rounds_keys_and_values_as_declared(native: ctypes.CDLL) -> None:
    for type in TYPES:
        layer = Layer(native, type=type)
        text = Texts(layer, seed=7).draw(40)
        layer.attend([Part(text, 0, 40)])
        for stored, given in zip(layer.stored(text), (text.k, text.v), strict=True):
            if type == "int8":
                scale = given.double().abs().amax(-1, keepdim=True) / 127
                assert ((stored - given).abs() <= 0.5001 * scale).all()
                assert ((stored / scale).abs().amax(-1) > 126.9999).all()
            else:
                dtype = torch.float32 if type == "fp32" else torch.bfloat16
                assert torch.equal(stored, given.to(dtype).double())


@pytest.mark.parametrize("type", TYPES)
def test_a_fault_stays_where_it_happens(native: ctypes.CDLL, type: str) -> None:
    """A NaN or infinity shows in what sees it, and nowhere else."""
    layer = Layer(native, type=type)
    texts = Texts(layer, seed=9)
    faulty, sound = texts.draw(60), texts.draw(60)
    faulty.v[30, 0, 3], faulty.k[40, 1, 5] = torch.inf, torch.nan
    outputs: list[Tensor] = []
    for position in range(60):
        parts = [Part(faulty, position, position + 1), Part(sound, position, position + 1)]
        broken, whole = layer.attend(parts)
        assert whole.isfinite().all()
        outputs.append(broken[0])
    result = torch.stack(outputs)
    assert result[:30].isfinite().all()
    assert result[:40, 3:].isfinite().all()  # the other key/value head's queries
    assert not result[30:, :3, 3].isfinite().any()
    assert not result[40:, 3:].isfinite().any()


def test_extreme_scores_neither_overflow_nor_vanish(native: ctypes.CDLL) -> None:
    layer = Layer(native, scale=1.0)
    text = Texts(layer, seed=11).draw(700)
    text.q *= 1e4
    text.k *= 1e4
    [out] = layer.attend([Part(text, 0, 700)])
    # Weights are one-hot but for ties within the rounding of scores of about 1e10.
    close = (out - layer.expected(text)).abs().amax(-1) < 1e-4
    assert out.isfinite().all()
    assert close.float().mean() > 0.99


def evaluate(function: object, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    function(  # type: ignore[operator]
        x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(len(x))
    )
    return y


def test_exponential_and_tangent_are_right_to_the_last_places(native: ctypes.CDLL) -> None:
    x = np.linspace(-87.2, 0, 1 << 20, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert (
        np.abs(evaluate(native.lmw_test_weight_of, x) - exact)
        <= 2 * np.spacing(exact.astype(np.float32))
    ).all()
    edges = np.array([0, -0.0, -87.4, -1e30, -np.inf, np.nan] + [-1.0] * 10, np.float32)
    ours = evaluate(native.lmw_test_weight_of, edges)
    np.testing.assert_array_equal(ours[:6], [1, 1, 0, 0, 0, np.nan])
    x = np.concatenate([np.linspace(-12, 12, 1 << 20), np.geomspace(1e-30, 1, 1 << 12)])
    x = x.astype(np.float32)
    exact = np.tanh(x.astype(np.float64))
    error = np.abs(evaluate(native.lmw_test_tangent, x) - exact)
    assert (error <= 6 * np.spacing(np.abs(exact).astype(np.float32))).all()
