"""A load test from start to end: find the model, warm up, put the load on, sum up."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.serving.bench import load as loads
from lmwright.serving.bench.client import Api, Client, first_model
from lmwright.serving.bench.http import Endpoint
from lmwright.serving.bench.load import Load, Progress
from lmwright.serving.bench.outcomes import Measured, Targets
from lmwright.serving.bench.prompts import Prompt


def measure(
    url: str,
    prompts: Sequence[Prompt],
    load: Load,
    *,
    model: str | None = None,
    api: Api = "chat",
    api_key: str | None = None,
    fields: Mapping[str, Any] | None = None,
    warm_up: int = 8,
    timeout: float = 300.0,
    targets: Targets = Targets(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> Measured:
    """Put a load on an OpenAI-compatible server and time its streamed answers.

    Args:
        url: of the server; without a path, its `/v1`.
        prompts: sent in order, over and over.
        load: how many clients, or which rate of arrivals, and when it ends.
        model: its name there; None: the first that the server lists.
        api: chat completions, or plain completions.
        api_key: sent as a bearer token.
        fields: further fields of every request, such as `{"temperature": 0}`.
        warm_up: requests sent before, not counted.
        timeout: seconds that a request may take.
        targets: what goodput counts.
        progress: told about once a second how it goes.

    Raises:
        LmwrightError: if the server cannot be reached, a prompt does not fit the API, or every
            request of the warm-up fails.
    """
    _check(load, warm_up)
    if api == "completions":
        for prompt in prompts:
            prompt.text()  # refuses conversations before anything is sent
    endpoint = Endpoint.parse(url, api_key=api_key)
    client = Client(endpoint, model or "", api, timeout, fields or {})
    return asyncio.run(_measure(client, prompts, load, warm_up, targets, progress))


async def _measure(
    client: Client,
    prompts: Sequence[Prompt],
    load: Load,
    warm_up: int,
    targets: Targets,
    progress: Progress | None,
) -> Measured:
    if not client.model:
        client = replace(client, model=await first_model(client.endpoint))
    if warm_up:
        client = await _warm(client, prompts, min(load.clients, warm_up), warm_up)
    cpu = time.process_time()
    outcomes, seconds = await loads.run(client, prompts, load, progress)
    settings = {
        "server": client.endpoint.host_header,
        "model": client.model,
        "api": client.api,
        "fields": dict(client.fields),
        "server_counts_tokens": client.usage,
        "prompts": len(prompts),
        "warm_up_requests": warm_up,
        **{f"load_{name}": value for name, value in asdict(load).items()},
        **{f"target_{name}_seconds": value for name, value in asdict(targets).items()},
    }
    return Measured(outcomes, seconds, time.process_time() - cpu, targets, settings)


async def _warm(client: Client, prompts: Sequence[Prompt], clients: int, requests: int) -> Client:
    """Send what does not count; the client, without what the server does not take."""
    # The last prompts first: those at the beginning shall not lie in the server's prefix cache.
    shown = list(reversed(prompts))
    outcomes, _ = await loads.run(client, shown, Load(clients=clients, requests=requests))
    if any(one.error is None for one in outcomes):
        return client
    kind = outcomes[0].error or ""
    if client.usage and "stream_options" in kind:
        return await _warm(replace(client, usage=False), prompts, clients, requests)
    raise LmwrightError(f"every request of the warm-up failed: {kind}")


def _check(load: Load, warm_up: int) -> None:
    if load.requests is None and load.seconds is None:
        raise LmwrightError("the load never ends", hint="give a number of requests, or a time")
    for name, value in (("clients", load.clients), ("requests", load.requests)):
        if value is not None and value < 1:
            raise LmwrightError(f"{name}: {value}; it must be at least 1")
    for name, seconds in (("rate", load.rate), ("seconds", load.seconds)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise LmwrightError(f"{name}: {seconds}; it must be above 0")
    if warm_up < 0:
        raise LmwrightError(f"warm_up: {warm_up}; it must be 0 or more")
