"""Runs on real data that several labs' proofs share; what is measured must not depend on time."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError

if TYPE_CHECKING:
    from lmwright.engine import LLM


def data_folder(name: str) -> Path:
    """A folder of real data.

    Raises:
        LmwrightError: if LMWRIGHT_DATA names no folder that has it.
    """
    folder = Path(os.environ.get("LMWRIGHT_DATA", "")) / name
    if not os.environ.get("LMWRIGHT_DATA") or not folder.is_dir():
        raise LmwrightError(
            f"this proof reads {name}, and LMWRIGHT_DATA names no folder that has it",
            hint="set LMWRIGHT_DATA to the folder of the data sets that the labs use",
        )
    return folder


def stories_llm(**options: Any) -> "LLM":
    """The engine on stories260K.

    Args:
        options: of `LLM`.
    """
    from lmwright.engine import LLM
    from lmwright.models.convert import convert

    source = data_folder("stories260K") / "stories260K.bin"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "stories260K"
        convert(str(source), target, note=lambda text: None)
        return LLM(target, **options)


PROMPT = "Once upon a time, there was a"

# What llama2.c's run.c goes on with, greedily; a test holds an independent transcription of it
# against these numbers. At none of them are the two likeliest tokens nearer than 0.004.
# fmt: off
_STORY = (
    376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419, 292, 411, 322, 265,
    282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432, 352, 266, 268, 388, 426, 338, 391,
    266, 267, 337, 335, 312, 432, 398, 312, 286, 267, 414, 270, 333, 415, 426, 13, 438, 310, 439,
    419, 357, 336, 432, 313, 438, 310, 432, 278, 316, 439, 419, 298, 414, 267, 265, 282, 295, 433,
    426, 436, 317, 286, 296, 418, 269, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267,
    400, 426, 338, 336, 432, 313, 442, 391, 267, 337, 335, 364, 420, 268, 388, 432, 398, 359, 280,
    303, 439, 413, 272, 417, 264, 312, 426, 436, 13, 438, 310, 286, 296, 418, 269, 279, 292, 416,
    439, 413, 409, 416, 327, 263, 415, 294, 267, 400, 426, 338, 336, 432, 313, 442, 439, 423, 262,
    304, 420, 422, 432, 317, 426, 359, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267,
    400, 426, 436, 13, 438, 310, 279, 292, 416, 439, 413, 391, 267, 281, 421, 427, 311, 357, 432,
    384, 358, 336, 432, 313, 442, 439, 423, 262, 304,
)
# fmt: on


def story_tokens() -> dict[str, Any]:
    """Let stories260K tell its story, greedily, by the engine's portable path.

    Its cache, blocks and layers are production's, but for the part that is in use.

    Returns:
        `different_tokens`: how many of the tokens are not those of llama2.c; `tokens`: how many
        there are; `story`: how the text begins.
    """
    from lmwright.engine import SamplingParams

    llm = stories_llm(runner="portable")
    params = SamplingParams(temperature=0.0, max_tokens=len(_STORY), ignore_eos=True)
    (told,) = llm.generate([PROMPT], params)
    same = sum(yours == theirs for yours, theirs in zip(told.token_ids, _STORY, strict=True))
    return {
        "different_tokens": len(_STORY) - same,
        "tokens": len(_STORY),
        "story": f"{PROMPT} {told.text[:100]}",
    }
