"""AMX: its tiles give the bits of AVX-512 VNNI, and are chosen only where they work and gain.

The object under test is the one that is shipped. Where the processor has no tiles, their
instructions are emulated as they come (emulated_tiles.cpp).
"""

import ctypes
import subprocess

import pytest
import torch

from lmwright.compression.rounding import Grid, quantize_rows
from lmwright.engine.native import NotCovered, build, choice, library
from lmwright.engine.native.library import Library
from lmwright.engine.native.pack import Source, pack
from lmwright.engine.native.runner import NativeRunner
from tests.engine.native import cases
from tests.engine.native.test_build import AVX512
from tests.engine.native.test_linear import multiply, random

TILES = {"amx_tile", "amx_int8"}
FORMATS = [(32, 32), (32, None), (128, 128), (128, None)]
"""Columns that share a scale of the activations, and of the weights; None: a scale for each row."""


@pytest.fixture(scope="module")
def vectors():
    if "avx512_vnni" not in build.usable_sets():
        pytest.skip("needs a processor with AVX-512 VNNI")
    return library.load("avx512_vnni")


@pytest.fixture(scope="module")
def tiles(vectors, tmp_path_factory):
    """The object for AMX, on AMX or on its emulation."""
    try:
        opened = library.open_object("amx_int8", build.find_object("amx_int8"))
    except build.CannotBuild as reason:
        pytest.skip(f"no object for AMX: {reason}")
    opened.functions.lmw_use_tiles(1)
    if opened.functions.lmw_request_tiles():
        yield opened
        return
    emulation = emulation_of_tiles(tmp_path_factory.mktemp("emulation"))
    emulation.start_emulation()
    yield opened
    assert emulation.stop_emulation() > 0, "no tile was ever met"


def emulation_of_tiles(folder):
    made = folder / "emulated_tiles.so"
    source = cases.__file__.replace("cases.py", "emulated_tiles.cpp")
    flags = ["-std=c++17", "-O2", "-shared", "-fPIC"]
    subprocess.run([build.find_compiler(), *flags, source, "-o", made], check=True)
    emulation = ctypes.CDLL(str(made))
    emulation.stop_emulation.restype = ctypes.c_long
    return emulation


def layer(outputs, columns, group, grid, bias=None):
    values, scale = quantize_rows(random(outputs, columns), Grid(8, grid))
    return pack(Source(values, scale, bias=bias, group=group))


@pytest.mark.parametrize(("group", "grid"), FORMATS)
def test_any_number_of_rows_gives_the_bits_of_vectors(tiles, vectors, group, grid):
    packed = layer(70, 3 * group, group, grid, random(70, seed=1))  # three panels

    for rows in range(1, 51):
        x = random(rows, 3 * group, seed=rows)
        assert torch.equal(multiply(tiles, packed, x), multiply(vectors, packed, x)), rows


@pytest.mark.parametrize(("group", "grid"), FORMATS)
@pytest.mark.parametrize("outputs", [1, 32, 64, 301, 600])
def test_any_number_of_panels_and_threads(tiles, vectors, outputs, group, grid):
    packed, x = layer(outputs, 256, group, grid), random(29, 256, seed=2)

    expected = multiply(vectors, packed, x)

    for threads in (1, 2, 3):
        assert torch.equal(multiply(tiles, packed, x, threads), expected), threads


def test_the_edges_of_the_grids_do_not_saturate(tiles):
    values = torch.full((64, 256), 127, dtype=torch.int8)
    values[::2] = -128
    x = torch.full((20, 256), 5.0)
    x[1::2] = -5.0

    for group in (32, 128):
        ours = multiply(tiles, pack(Source(values, torch.ones(64, 1), group=group)), x)
        assert cases.relative(ours, x @ values.float().T) <= 1e-5


def test_many_rows_pass_in_several_bands(tiles, vectors):
    packed, x = layer(64, 128, 128, 128), random(250, 128, seed=2)  # the first ten bands, and more

    assert torch.equal(multiply(tiles, packed, x), multiply(vectors, packed, x))


def test_tiles_can_be_switched_off(tiles, vectors):
    packed, x = layer(64, 128, 128, 128), random(24, 128, seed=2)

    tiles.functions.lmw_use_tiles(0)
    ours = multiply(tiles, packed, x)
    tiles.functions.lmw_use_tiles(1)

    assert torch.equal(ours, multiply(vectors, packed, x))


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("family", ["wide", "gpt2", "gemma2"])
def test_whole_models_give_the_same_logits(tiles, vectors, family, weights):
    model = cases.build(family)
    pieces = [(0, ids) for ids in cases.prompts([37, 1, 20, 2])]

    ours, expected = (
        NativeRunner(
            model, kernels, num_blocks=64, block_size=16, weights=weights, threads=2
        ).forward(cases.batch(pieces))
        for kernels in (tiles, vectors)
    )

    assert torch.equal(ours, expected)


def test_a_processor_with_tiles_prefers_them():
    assert build.usable_sets(AVX512 | TILES) == ["amx_int8", "avx512_vnni", "avx2"]
    assert build.usable_sets(AVX512 | {"amx_tile"}) == ["avx512_vnni", "avx2"]
    assert build.usable_sets(AVX512 - {"avx512_vnni"} | TILES) == ["avx2"]


def test_a_compiler_that_does_not_know_tiles_says_so(monkeypatch, tmp_path):
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\ncase "$*" in *-mamx*) exit 1;; esac\necho old\n')
    old.chmod(0o755)
    monkeypatch.setenv("CXX", str(old))
    monkeypatch.setattr(build, "SHIPPED", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(build.CannotBuild, match=r"does not know all of .*-mamx-int8"):
        build.find_object("amx_int8")


class Functions:
    """An object whose tiles are as right and as fast as a test wants."""

    def __init__(self, granted=True, seconds=0.0, wrong=False):
        self.granted, self.seconds, self.wrong = granted, seconds, wrong
        self.tiles, self.clock = False, 0.0

    def lmw_request_tiles(self):
        return self.granted

    def lmw_use_tiles(self, wanted):
        self.tiles = bool(wanted)

    def lmw_open_pool(self, threads):
        return None

    def lmw_close_pool(self, pool):
        pass

    def lmw_linear(self, pool, weights, x, rows, out, times):
        self.clock += self.seconds if self.tiles else 1.0
        values = (ctypes.c_float * (rows * weights.rows)).from_address(out)
        values[:] = [float(self.tiles and self.wrong)] * len(values)


@pytest.fixture
def chosen(monkeypatch):
    """What is chosen on a processor with tiles, as `functions` has them."""

    def chosen(functions):
        monkeypatch.setattr(build, "usable_sets", lambda: ["amx_int8", "avx512_vnni"])
        monkeypatch.setattr(build, "find_object", lambda name: name)
        monkeypatch.setattr(library, "open_object", lambda name, path: Library(name, functions))
        monkeypatch.setattr(choice.time, "perf_counter", lambda: functions.clock)
        return choice.best().instruction_set

    library.load.cache_clear()
    choice.best.cache_clear()
    yield chosen
    library.load.cache_clear()
    choice.best.cache_clear()


def test_tiles_that_are_right_and_faster_are_chosen(chosen):
    functions = Functions(seconds=0.9)

    assert chosen(functions) == "amx_int8"
    assert functions.tiles


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        (Functions(granted=False), "refuses this process"),
        (Functions(seconds=1.5), "1.50 times as long"),
        (Functions(wrong=True), "differ"),
    ],
)
def test_else_vectors_are_and_the_log_says_why(chosen, caplog, functions, reason):
    with caplog.at_level("INFO", logger="lmwright"):
        assert chosen(functions) == "avx512_vnni"

    assert "no kernels for amx_int8" in caplog.text
    assert reason in caplog.text


def test_insisting_on_tiles_without_permission_fails(chosen):
    chosen(Functions(granted=False))

    with pytest.raises(NotCovered, match="refuses"):
        library.load("amx_int8")


def test_the_check_finds_the_tiles_right(tiles, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(
        choice.time, "perf_counter", lambda: next(seconds)
    )  # emulated ones are slow

    with pytest.raises(NotCovered, match=r"take 1\.00 times as long"):
        choice.check_tiles(tiles)
