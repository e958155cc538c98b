"""Packed weights that are kept: the same bits, refused when damaged, bounded."""

import os

import pytest
import torch
from safetensors.torch import load_file

from lmwright.compression.weights import quantize
from lmwright.core.errors import LmwrightError
from lmwright.engine import native
from lmwright.engine.native import cache, choice, model
from tests.engine.native.cases import batch, build, prompts

FORMATS = ["as_stored", "fp32", "bf16", "int8", "int4"]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """An empty cache, which keeps the smallest models, too; kernels are where they were."""
    monkeypatch.setattr(cache, "_SMALLEST", 0)
    monkeypatch.setattr(cache.build, "cache_folder", lambda what: tmp_path / what)
    choice.best()  # before the folder is another one
    return tmp_path / "packed"


def opened(decoder, **options):
    return native.open_runner(decoder, num_blocks=16, block_size=16, threads=1, **options)


def logits(runner):
    (ids,) = prompts([20])
    return runner.forward(batch([(0, ids)]))


def entries(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def no_packing(*_):
    raise AssertionError("packed anew")


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "untied"])
def test_the_second_start_packs_nothing_and_has_the_same_bits(monkeypatch, family, weights):
    monkeypatch.setenv(cache.LIMIT, "0")
    without = opened(build(family), weights=weights)
    monkeypatch.delenv(cache.LIMIT)
    first = opened(build(family), weights=weights)
    monkeypatch.setattr(model, "pack", no_packing)
    monkeypatch.setattr(model, "pack_gated", no_packing)

    second = opened(build(family), weights=weights)

    assert first.describe() == second.describe() == without.describe()
    assert torch.equal(logits(first), logits(without))
    assert torch.equal(logits(second), logits(without))


@pytest.mark.parametrize(("bits", "group"), [(8, None), (8, 32), (4, 32)])
def test_integers_that_a_model_brings_are_kept_too(bits, group):
    brought = quantize(build(intermediate_size=128), bits=bits, group_size=group)
    first, second = opened(brought), opened(brought)

    assert torch.equal(logits(first), logits(second))
    for name, packed in first.packed.items():
        assert torch.equal(packed.values, second.packed[name].values)
        assert second.packed[name].values.data_ptr() % 64 == 0


@pytest.mark.parametrize("place", [0, 9, 0.05, 0.3, 0.6, 0.999, "short", "empty"])
def test_a_damaged_entry_is_told_of_and_made_anew(caplog, folder, place):
    whole = logits(opened(build(), weights="int8"))
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    if isinstance(place, str):
        content = content[: len(content) // 2 if place == "short" else 0]
    else:
        at = place if isinstance(place, int) else int(place * len(content))
        content[at] ^= 1
    path.write_bytes(content)

    again = opened(build(), weights="int8")

    assert torch.equal(logits(again), whole)
    assert [r.message.count("damaged, packed anew") for r in caplog.records] == [1]
    assert cache.entry(build(), "int8").read()


def test_another_model_format_or_packer_is_another_entry(monkeypatch):
    paths = [cache.entry(build(), weights).path for weights in FORMATS]
    paths += [cache.entry(build(seed=1), "int8").path]
    paths += [cache.entry(build().bfloat16(), "int8").path]
    paths += [cache.entry(build(norm_eps=1e-3), "int8").path]
    changed = build()
    with torch.no_grad():
        changed.layers[2].mlp.down_proj.weight[5, 7] *= -1
    paths += [cache.entry(changed, "int8").path]
    monkeypatch.setattr(cache, "_packers", lambda: "changed")
    paths += [cache.entry(build(), "int8").path]

    assert len(set(paths)) == len(paths)


def test_the_oldest_make_room(monkeypatch, folder):
    opened(build(seed=0), weights="int8")
    (path,) = folder.iterdir()
    monkeypatch.setenv(cache.LIMIT, str(2.5 * path.stat().st_size / 1e9))
    names = [cache.entry(build(seed=seed), "int8").path.name for seed in range(3)]
    opened(build(seed=1), weights="int8")
    for age, name in enumerate(names[:2]):
        os.utime(folder / name, (age, age))
    opened(build(seed=0), weights="int8")  # used: now the other one is the oldest
    (folder / ".left.part").write_text("of a process that was killed")
    os.utime(folder / ".left.part", (0, 0))

    opened(build(seed=2), weights="int8")

    assert entries(folder) == sorted([names[0], names[2]])


def test_what_is_larger_than_the_limit_is_not_kept(monkeypatch, folder):
    monkeypatch.setenv(cache.LIMIT, "0.00001")

    opened(build())

    assert entries(folder) == []


def test_an_entry_is_a_safetensors_file_and_outlives_its_removal(folder):
    opened(build(), weights="int8")
    (path,) = folder.iterdir()
    second = opened(build(), weights="int8")

    stored = load_file(path)
    path.unlink()  # as another process does that needs room

    assert torch.equal(stored["lm_head.values"], second.packed["lm_head"].values)
    assert torch.equal(logits(second), logits(opened(build(), weights="int8")))


def test_small_models_are_not_kept(monkeypatch, folder):
    monkeypatch.setattr(cache, "_SMALLEST", 10_000_000)

    opened(build())

    assert entries(folder) == []


def test_a_limit_that_is_no_size_is_refused(monkeypatch):
    for given in ("much", "inf", "nan"):
        monkeypatch.setenv(cache.LIMIT, given)
        with pytest.raises(LmwrightError, match="is no size"):
            opened(build())


def test_a_folder_that_cannot_be_written_costs_time_alone(folder):
    folder.write_text("in the way")

    assert logits(opened(build())).shape == (20, 333)
