"""Where a model is: a folder or file here, else the hub."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.core.files import sha256_file

_HUB_ID = re.compile(
    r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(/(?P<file>[\w./-]+\.gguf))?(@(?P<revision>[\w./-]+))?"
)
_BESIDE = (
    "*.json",
    "*.jinja",
    "*.model",
    "*.tiktoken",
    "merges.txt",
    "vocab.txt",
    "vocab.bpe",
)
"""Configs and tokenizers of all kinds."""
_WEIGHTS = ("model.safetensors", "model-*.safetensors")
_PICKLES = ("pytorch_model.bin", "pytorch_model-*.bin")


def locate(name: str | Path, *, revision: str | None = None, weights: bool = True) -> Path:
    """The folder or file of a model, downloaded first if the name is a hub id.

    The token in HF_TOKEN is sent; with HF_HUB_OFFLINE only the cache is looked at. A download that
    was interrupted goes on where it stopped, file by file, and what arrived is compared with the
    checksums that the hub publishes.

    Args:
        name: a folder or a file here; else `owner/name` on the hub, `owner/name@revision`, or
            `owner/name/FILE.gguf` for one file of it.
        revision: branch, tag or commit of the hub; None: what `name` says, else `main`.
        weights: whether they are downloaded; without, only what describes the model is.

    Returns:
        A folder with config.json and weights, or the one file.

    Raises:
        LmwrightError: if it is neither here nor on the hub, the hub cannot be reached, or what it
            sent is damaged.
    """
    path = Path(name)
    if path.exists():
        if revision is not None:
            raise LmwrightError(
                f"{name} lies here and has no revision {revision}",
                hint="revisions are of models on the hub: owner/name@revision",
            )
        return path
    found = _HUB_ID.fullmatch(str(name))
    if found is None:
        raise LmwrightError(
            f"there is no model at {name}",
            hint="give a folder with config.json, a .gguf file, or a hub id such as owner/name",
        )
    hub_id, file, pinned = found["id"], found["file"], found["revision"]
    if revision is not None and pinned not in (None, revision):
        raise LmwrightError(f"{name} names a revision, and revision {revision} is wanted")
    revision = revision or pinned
    if file is not None:
        folder = _download(hub_id, revision, [file])
        if not (folder / file).is_file():
            raise LmwrightError(f"{hub_id} has no file {file} on the hub")
        return folder / file
    folder = _download(hub_id, revision, [*_BESIDE, *_WEIGHTS] if weights else _BESIDE)
    if weights and not any(folder.glob("*.safetensors")):
        # Only now, so that a model that has both is not downloaded twice.
        folder = _download(hub_id, folder.name, [*_BESIDE, *_WEIGHTS, *_PICKLES])
    return folder


def _download(hub_id: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The snapshot's folder in the cache, named by its commit, with the files that match."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The base of its transport's errors: httpx's or httpx2's, by the library's version.
    transport: type[Exception] = HfHubHTTPError.__bases__[0]
    before, new = _cached(hub_id), list[Path]()
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))
        new = [path for path in _files(folder) if path not in before]
        _verify(hub_id, folder, new)
    except (OSError, transport, HFValidationError) as error:
        for path in new:  # not proved whole: the next call must take it for new again
            path.unlink(missing_ok=True)
        raise LmwrightError(
            f"{hub_id} is not a folder here, and the hub did not give it: "
            f"{_reason(error, revision)}",
            hint="check the name, the network, and whether the model needs a token (HF_TOKEN)",
        ) from error
    return folder


def _reason(error: Exception, revision: str | None) -> str:
    from huggingface_hub import constants, errors, get_token

    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision}"
    if isinstance(error, errors.GatedRepoError):
        return "it is gated, and access must be asked for on its page"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "it has no such model, or the model is private"
    if isinstance(error, errors.LocalEntryNotFoundError) and constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and there is no complete copy in the cache"
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    token = get_token()
    return text.replace(token, "(token)") if token else text


def _cached(hub_id: str) -> set[Path]:
    """Files of all snapshots of a model that are in the cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repository = repo_folder_name(repo_id=hub_id, repo_type="model")
    return set(_files(Path(constants.HF_HUB_CACHE) / repository / "snapshots"))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _verify(hub_id: str, folder: Path, new: Sequence[Path]) -> None:
    """Compare downloaded files with the hub's checksums; damaged ones leave the cache."""
    if not new:
        return
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    names = {path.relative_to(folder).as_posix(): path for path in new}
    for entry in HfApi().get_paths_info(hub_id, list(names), revision=folder.name):
        assert isinstance(entry, RepoFile), "files were asked for"
        path = names[entry.path]
        if entry.lfs is None:
            intact = _git_blob(path) == entry.blob_id
        else:
            intact = sha256_file(path) == entry.lfs.sha256
        if intact:
            continue
        path.resolve().unlink()
        path.unlink(missing_ok=True)  # what is left of it where the cache links to its content
        raise LmwrightError(
            f"{entry.path} of {hub_id} arrived damaged: its checksum is not the hub's",
            hint="run the same again: the file will be downloaded anew",
        )


def _git_blob(path: Path) -> str:
    """The id that git gives to a file's content: how the hub names files outside LFS."""
    content = path.read_bytes()
    # Not for security: an accident is what it must notice.
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()
