"""Objects: chosen for the processor, built once, absent without a compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmwright.engine import native
from lmwright.engine.native import build, choice, library
from tests.engine.native.cases import build as build_model

AVX2 = frozenset({"avx2", "fma", "f16c"})
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"}


def test_the_widest_instruction_set_comes_first_and_all_of_it_must_be_there():
    assert build.usable_sets(AVX512) == ["avx512_vnni", "avx2"]
    assert build.usable_sets(AVX512 - {"avx512_vnni"}) == ["avx2"]
    assert build.usable_sets(AVX2 - {"fma"}) == []
    assert build.usable_sets(frozenset()) == []


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load.cache_clear()
    choice.best.cache_clear()
    yield tmp_path
    library.load.cache_clear()
    choice.best.cache_clear()


@pytest.fixture
def tiny_sources(monkeypatch, tmp_path):
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "one.cpp").write_text('extern "C" int lmw_one() { return 1; }\n')
    (folder / "two.cpp").write_text('extern "C" int lmw_two() { return 2; }\n')
    monkeypatch.setattr(build, "SOURCES", folder)
    return folder


def test_without_a_compiler_the_reason_says_so(monkeypatch, empty_cache):
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(native.NotCovered, match=r"no C\+\+ compiler"):
        native.open_runner(build_model(), num_blocks=4, block_size=16)


def test_a_processor_without_the_instructions_is_named(monkeypatch, empty_cache):
    monkeypatch.setattr(build, "usable_sets", list)

    with pytest.raises(native.NotCovered, match="this processor has no"):
        native.open_runner(build_model(), num_blocks=4, block_size=16)


def test_an_object_is_built_once_and_again_when_a_source_changes(empty_cache, tiny_sources):
    first = build.find_object("avx2")
    stamp = first.stat().st_mtime_ns

    assert build.find_object("avx2") == first
    assert first.stat().st_mtime_ns == stamp
    (tiny_sources / "two.cpp").write_text('extern "C" int lmw_two() { return 3; }\n')
    second = build.find_object("avx2")
    assert second != first
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, "lock"])


def test_builds_that_were_not_used_for_longest_are_removed(empty_cache, tiny_sources):
    other = build.find_object("avx512_vnni")  # another instruction set's: never in the way
    abandoned = other.parent.with_name("abandoned")
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    found = []
    for version in range(4):
        (tiny_sources / "two.cpp").write_text(f'extern "C" int lmw_two() {{ return {version}; }}\n')
        found.append(build.find_object("avx2"))
        os.utime(found[-1].parent, (version, version))
        if version == 1:
            (tiny_sources / "two.cpp").write_text('extern "C" int lmw_two() { return 0; }\n')
            assert build.find_object("avx2") == found[0]  # used again: now 1 is the oldest

    assert [path.exists() for path in found] == [True, False, True, True]
    assert other.exists()
    assert not abandoned.exists()


def test_the_compilers_first_error_is_told(empty_cache, tiny_sources):
    (tiny_sources / "two.cpp").write_text("this is no program;\n")

    with pytest.raises(build.CannotBuild, match=r"cannot build.*two\.cpp"):
        build.find_object("avx2")
    assert list(empty_cache.rglob("*.so")) == []


def test_processes_that_start_together_build_once(empty_cache, tiny_sources):
    compiler = tiny_sources.parent / "compiler"
    log = tiny_sources.parent / "log"
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *" -o "*) echo run >> {log};; esac\n'
        f'exec {build.find_compiler()} "$@"\n'
    )
    compiler.chmod(0o755)
    code = (
        "from pathlib import Path; from lmwright.engine.native import build;"
        f"build.SOURCES = Path({str(tiny_sources)!r}); print(build.find_object('avx2'))"
    )
    environment = os.environ | {"CXX": str(compiler)}
    several = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    found = {process.communicate(timeout=120)[0] for process in several}

    assert len(found) == 1
    assert Path(found.pop().decode().strip()).exists()
    assert log.read_text().split() == ["run"] * 3  # two files and the link, once


def test_what_a_wheel_ships_is_preferred(monkeypatch, tmp_path, tiny_sources):
    monkeypatch.setattr(build, "SHIPPED", tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    shipped = tmp_path / build.object_name("avx2")
    shipped.write_bytes(b"")

    assert build.find_object("avx2") == shipped


def test_a_cache_that_cannot_be_written_is_a_reason_too(monkeypatch, tmp_path, tiny_sources):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with pytest.raises(build.CannotBuild, match="cannot be written"):
        build.find_object("avx2")
