"""Files are whole or absent, also when the disk is full or the process dies."""

import errno
import os

import pytest

from lmwright.core import files
from lmwright.core.errors import LmwrightError


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LmwrightError, match="the disk is full"):
        files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with files.replaced_folder(target) as temporary:
        (temporary / "weights").write_text("first")

    def fails_half_way():
        with files.replaced_folder(target) as temporary:
            (temporary / "weights").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_half_way()
    assert (target / "weights").read_text() == "first"
    with files.replaced_folder(target) as temporary:
        (temporary / "other").write_text("second")
    assert [p.name for p in target.iterdir()] == ["other"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_broken_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(LmwrightError, match=r"a\.json is not valid JSON"):
        files.read_json(tmp_path / "a.json")


def test_digests_see_names_and_contents(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_text("1")
    first = files.sha256_tree(tmp_path)
    (tmp_path / "x" / "a").rename(tmp_path / "x" / "b")
    renamed = files.sha256_tree(tmp_path)
    (tmp_path / "x" / "b").write_text("2")
    assert len({first, renamed, files.sha256_tree(tmp_path)}) == 3
