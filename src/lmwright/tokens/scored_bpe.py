"""BPE whose merges are ranked by the pieces' scores: SentencePiece's, and so LLaMA's.

Such a vocabulary lists pieces with scores and no merges: of all neighbours whose join is a piece,
the one with the highest score is joined first, the leftmost of equals (Kudo and Richardson 2018,
section 3; Sennrich et al. 2016). A list of merges in the order of the scores does the same.
"""

import re
from collections.abc import Mapping

from tokenizers import decoders, models

from lmwright.core.errors import LmwrightError

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How a vocabulary writes the single bytes that spell characters it has no piece for."""


def ranked_merges(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, the best piece's pairs first.

    Args:
        scores: of the pieces that text may be cut into, in the order of their ids.
    """
    found: list[tuple[float, int, int, int, tuple[str, str]]] = []
    place = {piece: number for number, piece in enumerate(scores)}
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in scores and right in scores:
                # Pairs of one piece have one score; the library needs some order among them.
                found.append((-score, place[piece], place[left], place[right], (left, right)))
    return [merge for *_, merge in sorted(found)]


def byte_fallback_bpe(
    vocabulary: Mapping[str, int], scores: Mapping[str, float], unknown: str | None, where: str
) -> models.BPE:
    """The `tokenizers` model of a scored vocabulary.

    Args:
        vocabulary: ids of all pieces, special tokens and bytes among them.
        scores: of those that text may be cut into.
        unknown: the piece that stands for what has none.
        where: the file, for errors.

    Raises:
        LmwrightError: if some but not all of the 256 bytes are pieces.
    """
    present = sum(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    if present not in (0, 256):
        raise LmwrightError(
            f"{where} has {present} of the 256 byte pieces <0x00> to <0xFF>",
            hint="the file is damaged: copy it again",
        )
    return models.BPE(
        vocab=dict(vocabulary),
        merges=ranked_merges(scores),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=present == 256,
    )


def space_decoder(mark: str, *, leading_space: bool, byte_pieces: bool) -> decoders.Decoder:
    """Pieces to text: marks become spaces, runs of byte pieces become characters.

    Args:
        mark: what stands for a space in pieces.
        leading_space: encoding put a space before the text, so decoding takes one off.
        byte_pieces: pieces such as `<0x0A>` are bytes.
    """
    steps: list[decoders.Decoder] = [] if mark == " " else [decoders.Replace(mark, " ")]
    steps += [decoders.ByteFallback()] if byte_pieces else []
    steps += [decoders.Fuse()]
    steps += [decoders.Strip(" ", 1, 0)] if leading_space else []
    return decoders.Sequence(steps)
