"""A load test for people: a table, a JSON file, a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmwright.core.files import write_bytes, write_json
from lmwright.serving.bench.outcomes import PERCENTILES, Measured, Outcome, percentiles

_NAMES = {
    "time_to_first_token": "time to first token",
    "inter_token_latency": "inter-token latency (between pieces)",
    "time_per_token": "time per token (mean of a request)",
    "end_to_end_latency": "end to end",
}
_LAG_SECONDS = 0.05
"""Later than this, the generator itself is part of the latency."""


def show(measured: Measured) -> None:
    """Print the figures."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=_title(measured), title_justify="left")
    table.add_column("milliseconds")
    for percent in PERCENTILES:
        table.add_column(f"p{percent}", justify="right")
    for name, values in measured.latencies().items():
        cells = [_milliseconds(value) for value in percentiles(values).values()]
        table.add_row(_NAMES[name], *cells)
    console = Console()
    (console if console.is_terminal else Console(width=100)).print(table)
    for line in lines(measured):
        print(line)


def lines(measured: Measured) -> list[str]:
    """The figures that are no percentiles, a line each."""
    found = measured.summary()
    said = [
        f"requests: {found['finished_requests']} finished, {found['failed_requests']} failed, "
        f"{found['cut_requests']} cut off by the end, in {measured.seconds:.1f} s",
        f"throughput: {found['output_tokens_per_second']:.1f} tokens/s of answers, "
        f"{found['requests_per_second']:.2f} requests/s",
    ]
    if measured.targets != type(measured.targets)():
        share = found["goodput_share"]
        said.append(
            f"goodput: {found['goodput_requests_per_second']:.2f} requests/s within "
            f"{_targets(measured)}" + ("" if share is None else f" ({share:.1%} of requests)")
        )
    said += [f"error, {count} times: {kind}" for kind, count in measured.errors.items()]
    if (found["generator_lag_seconds"] or 0) > _LAG_SECONDS:
        said.append(
            f"note: a request was sent {found['generator_lag_seconds']:.2f} s late; the latencies "
            "hold this machine's own load"
        )
    return said


def write(measured: Measured, folder: Path) -> list[Path]:
    """Write `results.json` (summary, settings, every request) and `latency.png`; their paths."""
    record = {
        "summary": measured.summary(),
        "errors": measured.errors,
        "settings": measured.settings,
        "requests": [_row(one) for one in measured.outcomes],
    }
    results, picture = folder / "results.json", folder / "latency.png"
    write_json(results, record)
    write_bytes(picture, plot(measured))
    return [results, picture]


def plot(measured: Measured) -> bytes:
    """A PNG: how the three latencies are distributed, and tokens per second over time."""
    import io

    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    places = figure.subplots(2, 2).flatten()
    found = measured.latencies()
    targets = {
        "time_to_first_token": measured.targets.time_to_first_token,
        "inter_token_latency": measured.targets.time_per_token,
        "end_to_end_latency": measured.targets.latency,
    }
    for axes, (name, target) in zip(places, targets.items(), strict=False):
        values = np.sort(np.asarray(found[name])) * 1e3
        if len(values):
            share = np.arange(1, len(values) + 1) / len(values)
            axes.step(values, share, where="post", color="#3b82f6")
        if target is not None:
            axes.axvline(target * 1e3, color="#ec4899", linestyle="--", label="target")
            axes.legend(frameon=False)
        axes.set(title=_NAMES[name], xlabel="milliseconds", ylabel="share at most", ylim=(0, 1.02))
    _plot_throughput(places[3], measured)
    figure.suptitle(_title(measured), x=0.01, ha="left", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _plot_throughput(axes: Any, measured: Measured) -> None:
    import numpy as np

    width = max(1.0, measured.seconds / 60)
    edges = np.arange(0.0, measured.seconds + width, width)
    moments, weights = _moments(measured.outcomes)
    counts, _ = np.histogram(moments, edges, weights=weights)
    axes.stairs(counts / width, edges, color="#10b981", fill=True, alpha=0.5)
    axes.set(title="tokens of answers per second", xlabel="seconds", ylim=(0, None))


def _moments(outcomes: Sequence[Outcome]) -> tuple[list[float], list[float]]:
    """When pieces arrived, and how many tokens each stands for."""
    moments, weights = [], []
    for one in outcomes:
        if one.arrivals and one.error is None:
            moments += one.arrivals
            each = (one.completion_tokens or len(one.arrivals)) / len(one.arrivals)
            weights += [each] * len(one.arrivals)
    return moments, weights


def _title(measured: Measured) -> str:
    s = measured.settings
    if not s:
        return "load test"
    load = f"{s['load_clients']} clients"
    if s["load_rate"] is not None:
        load = f"{s['load_rate']:g} requests/s arriving at random"
    return f"{s['model']} at {s['server']}, {s['api']}, {load}"


def _targets(measured: Measured) -> str:
    t = measured.targets
    named = (
        ("first token", t.time_to_first_token),
        ("each token", t.time_per_token),
        ("end to end", t.latency),
    )
    return ", ".join(f"{name} {_milliseconds(most)} ms" for name, most in named if most is not None)


def _row(one: Outcome) -> dict[str, Any]:
    """A request without its thousand moments."""
    return {
        "due_seconds": round(one.due, 6),
        "time_to_first_token_seconds": one.time_to_first_token,
        "time_per_token_seconds": one.time_per_token,
        "longest_gap_seconds": max(one.gaps, default=None),
        "end_to_end_seconds": one.latency,
        "completion_tokens": one.completion_tokens,
        "prompt_tokens": one.prompt_tokens,
        "error": one.error,
        "cut": one.cut,
    }


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    value = seconds * 1e3
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
