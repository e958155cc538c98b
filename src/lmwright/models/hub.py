"""Where a model is: a folder here, else the hub."""

import re
from pathlib import Path

from lmwright.core.errors import LmwrightError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]


def locate(folder_or_id: str | Path) -> Path:
    """The folder of a model, downloaded first if the name is a hub id and not a folder.

    Args:
        folder_or_id: a folder, or `owner/name` on the hub.

    Raises:
        LmwrightError: if it is neither, or the hub cannot be reached.
    """
    folder = Path(folder_or_id)
    if folder.is_dir():
        return folder
    name = str(folder_or_id)
    if folder.exists():
        raise LmwrightError(f"{name} is a file; a model is a folder with config.json")
    if not _HUB_ID.fullmatch(name) or "/" not in name:
        raise LmwrightError(
            f"there is no model at {name}",
            hint="give a folder with config.json, or a hub id such as owner/name",
        )
    return _download(name)


def _download(hub_id: str) -> Path:
    from httpx import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_PATTERNS))
    except (OSError, HTTPError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LmwrightError(
            f"{hub_id} is not a folder here, and the hub did not give it: {reason}",
            hint="check the name, the network, and whether the model needs a token (HF_TOKEN)",
        ) from error
