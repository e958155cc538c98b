"""llama2.c's tokenizer file against its own algorithm, transcribed."""

import struct

import pytest

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from tests.tokens.published_texts import dataset_texts


class Transcribed:
    """`run.c`: build_tokenizer, encode, decode, step by step as they stand there."""

    def __init__(self, data: bytes) -> None:
        self.vocab, self.scores, place = [], [], 4
        while place < len(data):
            score, size = struct.unpack_from("<fi", data, place)
            self.vocab.append(data[place + 8 : place + 8 + size])
            self.scores.append(score)
            place += 8 + size
        self.lookup = {piece: number for number, piece in enumerate(self.vocab)}

    def encode(self, text: str, bos: bool, eos: bool) -> list[int]:
        ids = [1] if bos else []
        if text:
            ids.append(self.lookup[b" "])
        for character in text:
            data = character.encode()
            found = self.lookup.get(data)
            ids += [byte + 3 for byte in data] if found is None else [found]
        while True:
            best_score, best_id, best_place = -1e10, -1, -1
            for place in range(len(ids) - 1):
                joined = self.lookup.get(self.vocab[ids[place]] + self.vocab[ids[place + 1]], -1)
                if joined != -1 and self.scores[joined] > best_score:
                    best_score, best_id, best_place = self.scores[joined], joined, place
            if best_place == -1:
                break
            ids[best_place : best_place + 2] = [best_id]
        return ids + ([2] if eos else [])

    def decode(self, ids: list[int]) -> bytes:
        """Text printed after the start token, piece by piece."""
        printed, previous = b"", 1
        for token in ids:
            piece = self.vocab[token]
            if previous == 1 and piece.startswith(b" "):
                piece = piece[1:]
            if len(piece) == 6 and piece.startswith(b"<0x") and piece.endswith(b">"):
                piece = bytes([int(piece[3:5], 16)])
            printed, previous = printed + piece, token
        return printed


@pytest.fixture(scope="module")
def content(data):
    return (data / "stories260K" / "tok512.bin").read_bytes()


def test_ids_and_text_equal_its_own_algorithm(data, content, random_text):
    ours, reference = tokens.load(data / "stories260K"), Transcribed(content)
    # A C string ends at a zero byte; and merging one by one is slow on long lines.
    texts = [t[:200] for t in dataset_texts(data, random_text)[::4] if "\0" not in t]
    texts += ["Once upon a time, there was a little girl.", "aaaaaaaaa", "a  b   c", "\n\n", " x"]
    assert len(texts) > 900
    for text in texts:
        ids = reference.encode(text, bos=False, eos=False)
        assert ours.encode(text) == ids
        assert ours.encode_with_special_tokens(text).input_ids == [1, *ids]
        assert ours.decode(ids) == reference.decode(ids).decode() == text


def test_it_has_512_tokens_with_its_start_and_end(data):
    ours = tokens.load(data / "stories260K")
    assert ours.vocab_size == 512
    assert (ours.unk_token_id, ours.bos_token_id, ours.eos_token_id) == (0, 1, 2)
    assert ours.decode([1, *ours.encode("A story."), 2]) == "A story."


def test_saved_as_tokenizer_json_it_is_the_same(data, tmp_path):
    ours = tokens.load(data / "stories260K")
    ours.save(tmp_path)
    text = "Once upon a time 日本  \n<s> 🎉"
    assert tokens.load(tmp_path).encode(text) == ours.encode(text)


def test_damaged_files_are_refused(content, tmp_path):
    file = tmp_path / "tokenizer.bin"
    sizes = (0, 3, 4, 11, 30, len(content) // 2, len(content) - 1)
    changed = content[:8] + struct.pack("<i", -5) + content[12:]
    for damaged in (*(content[:size] for size in sizes), changed, b"\xff" * 900):
        file.write_bytes(damaged)
        with pytest.raises(LmwrightError, match=r"tokenizer\.bin"):
            tokens.load(tmp_path)


def test_two_files_are_refused(content, tmp_path):
    for name in ("tok512.bin", "tokenizer.bin"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LmwrightError, match=r"several.*tok512\.bin, tokenizer\.bin"):
        tokens.load(tmp_path)
