"""Curves of logged metrics as SVG that takes its text colour from the page, light or dark."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

_LINES = ("#3b82f6", "#f59e0b", "#10b981", "#ec4899", "#8b5cf6")  # readable on white and on black
_TEXT = "#010203"  # stands for the page's own text colour, put in afterwards
_POINTS = 1_000  # more would be finer than the screen's pixels


def curve_svg(
    title: str, x: str, y: Sequence[str], metrics: Sequence[Mapping[str, Any]], *, salt: str
) -> str | None:
    """An SVG of the curves `y` against `x`, or None where fewer than two points were logged.

    Args:
        title: what the curves show, with the unit.
        x: name of the metric on the horizontal axis, such as "step".
        y: names of the curves.
        metrics: logged lines; those that lack `x` or a curve's value are left out of that curve.
        salt: unique on the page, so that ids of two pictures differ.
    """
    curves = {name: points for name in y if len(points := _points(metrics, x, name)) > 1}
    if not curves:
        return None
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",  # the page's font, and text that can be selected
            "svg.hashsalt": salt,
            "font.size": 9,
            "text.color": _TEXT,
            "axes.labelcolor": _TEXT,
            "axes.edgecolor": _TEXT,
            "xtick.color": _TEXT,
            "ytick.color": _TEXT,
        }
    ):
        figure = Figure(figsize=(6.0, 3.0), layout="constrained")
        axes = figure.subplots()
        for color, (name, points) in zip(_LINES * len(curves), curves.items(), strict=False):
            horizontal, vertical = zip(*points, strict=True)
            axes.plot(horizontal, vertical, color=color, linewidth=1.4, label=_words(name))
        axes.set_xlabel(_words(x))
        axes.set_ylabel(_words(y[0]) if len(curves) == 1 else "")
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=_TEXT, alpha=0.12)
        if len(curves) > 1:
            axes.legend(frameon=False)
        return _inline(figure, title)


def _points(metrics: Sequence[Mapping[str, Any]], x: str, y: str) -> list[tuple[float, float]]:
    points = [
        (float(line[x]), float(line[y]))
        for line in metrics
        if isinstance(line.get(x), (int, float)) and isinstance(line.get(y), (int, float))
    ]
    stride = max(1, len(points) // _POINTS)
    return points[::stride] + (points[-1:] if stride > 1 else [])


def _inline(figure: Any, title: str) -> str:
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(_TEXT, "currentColor")
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _words(name: str) -> str:
    return name.replace("_", " ")
