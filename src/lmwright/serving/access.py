"""Who may ask, as the command line says it: API keys and origins; loads no web framework."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from lmwright.core.errors import LmwrightError

ENVIRONMENT = "LMWRIGHT_API_KEY"
DEFAULT_PORTS = {"http": 80, "https": 443}

# Shorter keys can be guessed over a network.
SHORTEST = 8


def api_keys(given: Iterable[str], file: Path | None, environment: Mapping[str, str]) -> list[str]:
    """The keys of the command line, a file and the environment, all of them.

    Args:
        given: keys.
        file: one key a line; lines that begin with `#`, and empty ones, are none.
        environment: has keys, separated by commas, under `ENVIRONMENT`.

    Raises:
        LmwrightError: if the file cannot be read or holds no key, or a key is too short or could
            not be sent in a header.
    """
    keys = [*given, *_listed(environment.get(ENVIRONMENT, "").split(","))]
    if file is not None:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise LmwrightError(f"--api-key-file {file} cannot be read: {error}") from error
        in_file = _listed(line for line in lines if not line.startswith("#"))
        if not in_file:
            raise LmwrightError(f"--api-key-file {file} holds no key", hint="write one a line")
        keys += in_file
    for key in keys:
        check_key(key)
    return keys


def _listed(texts: Iterable[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]


def check_key(key: str) -> None:
    """Refuse a key that is too short, or could not be sent in a header.

    Raises:
        LmwrightError: without the key, which must not be printed.
    """
    if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
        raise LmwrightError(
            f"an API key must have at least {SHORTEST} characters, ASCII without spaces",
            hint='make one: python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )


def allowed_origins(origins: Iterable[str]) -> frozenset[str]:
    """Origins as browsers write them.

    Args:
        origins: `https://chat.example`, `http://localhost:3000`, or `*` for every page there is.

    Raises:
        LmwrightError: if one is no origin.
    """
    found = set()
    for origin in origins:
        scheme, separator, rest = origin.lower().rstrip("/").partition("://")
        if origin != "*" and not (separator and scheme in DEFAULT_PORTS and place(scheme, rest)):
            raise LmwrightError(
                f"--allow-origin {origin} is not an origin",
                hint="an origin is a scheme, a name and a port, such as https://chat.example",
            )
        found.add(origin.lower().rstrip("/"))
    return frozenset(found)


def place(scheme: str, netloc: str) -> tuple[str, int] | None:
    """Name and port of `name`, `name:port` or `[::1]:port`; None for anything else."""
    try:
        parts = urlsplit(f"{scheme}://{netloc}")
        port = parts.port or DEFAULT_PORTS[scheme]
    except ValueError:
        return None
    if not parts.hostname or parts.netloc != netloc or parts.username is not None:
        return None
    return parts.hostname, port
