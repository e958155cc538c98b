import json

import numpy as np
import pytest

from lmwright.core.errors import LmwrightError
from lmwright.tokens import shards
from lmwright.tokens.loader import Loader
from lmwright.tokens.packing import PackedRows, TokenDocument, pack


def make_rows(seed: int, count: int = 40) -> PackedRows:
    rng = np.random.default_rng(seed)
    documents = [TokenDocument(rng.integers(1, 500, rng.integers(1, 30))) for _ in range(count)]
    return pack(documents, 16, pad_token_id=0)


@pytest.fixture
def written(tmp_path):
    splits = {"train": make_rows(0), "validation": make_rows(1)}
    extra = {"validation": {"text_bytes": 77}}
    shards.write(splits, tmp_path, vocab_size=500, extra=extra)
    return tmp_path, splits


def test_what_is_written_is_mapped_back(written):
    folder, splits = written
    for name, rows in splits.items():
        opened = shards.open(folder, name)
        assert isinstance(opened.input_ids, np.memmap)
        for array in ("input_ids", "targets", "document_ids"):
            assert np.array_equal(getattr(opened, array), getattr(rows, array))
            # Plain files: numpy alone reads them.
            assert np.array_equal(np.load(folder / name / f"{array}.npy"), getattr(rows, array))
    batch = next(Loader(shards.open(folder), batch_rows=4, seed=0))
    assert len(batch) == 4


def test_metadata_counts_tokens(written):
    folder, splits = written
    metadata = shards.read_metadata(folder)
    assert (metadata["row_length"], metadata["vocab_size"]) == (16, 500)
    assert metadata["validation"]["text_bytes"] == 77
    for name, rows in splits.items():
        assert metadata[name]["rows"] == len(rows)
        assert metadata[name]["tokens"] == int((rows.document_ids > 0).sum())
        assert metadata[name]["trained_tokens"] == int((rows.targets >= 0).sum())


def test_a_split_without_rows_opens(tmp_path):
    empty = pack([], 16, pad_token_id=0)
    shards.write({"train": make_rows(0), "validation": empty}, tmp_path, vocab_size=500)
    assert len(shards.open(tmp_path, "validation")) == 0


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "other", "text"])
def test_damaged_shards_are_refused(written, damage):
    folder, _ = written
    file = folder / "train" / "targets.npy"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "other":
        np.save(file, np.zeros((3, 16), np.int32))
    else:
        file.write_bytes({"truncated": content[:-100], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(LmwrightError, match=r"targets\.npy"):
        shards.open(folder)


def test_folders_that_are_no_shards_are_refused(tmp_path):
    with pytest.raises(LmwrightError):
        shards.open(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(LmwrightError, match="token shards"):
        shards.open(tmp_path)


def test_an_unknown_split_is_refused(written):
    with pytest.raises(LmwrightError, match="test"):
        shards.open(written[0], "test")
