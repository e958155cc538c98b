"""Write the road's table and the steps' keys into their pages, so that pages and code agree."""

from collections.abc import Callable

from lmwright.pipeline.catalog import room_commands
from lmwright.pipeline.step import StepType
from lmwright.pipeline.step_help import keys
from lmwright.roadmap.topics import load_road


def on_page_markdown(markdown: str, **_: object) -> str:
    """mkdocs calls this with the source of every page."""
    for mark, text in GENERATED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown


def road_table() -> str:
    """Every stage with its topics: what works means, and what runs it."""
    lines = []
    for stage in load_road().stages:
        number = "" if stage.id == "B" else f"{stage.id}. "
        lines += [f"### {number}{stage.title}", ""]
        lines += ["| | topic | it works when | run it | labs |", "|---|---|---|---|---|"]
        for topic in stage.topics:
            how = f"`{topic.how}`" if topic.how else "planned"
            works = topic.works + (f"<br>*So far: {topic.note}*" if topic.note else "")
            title = f"[{topic.title}]({topic.page})" if topic.page else topic.title
            labs = ", ".join(f"[{lab}](labs/{lab}.md)" for lab in topic.labs)
            lines.append(f"| {topic.id} | {title} | {works} | {how} | {labs} |")
        lines.append("")
    return "\n".join(lines)


def step_keys() -> str:
    """Every step: what it takes and gives, and each key with its meaning."""
    steps = [step for module in room_commands() for step in getattr(module, "STEPS", ())]
    return "\n\n".join(_step(step) for step in sorted(steps, key=lambda step: step.name))


def _step(step: StepType) -> str:
    inputs = [
        f"`{name}` ({kind.replace('_', ' ')}{', optional' if name in step.optional else ''})"
        for name, kind in step.inputs.items()
    ]
    takes = f"Takes {', '.join(inputs)}. " if inputs else ""
    lines = [f"## {step.name}", "", f"{step.summary.rstrip('.')}.", ""]
    lines += [f"{takes}Gives: {step.output.replace('_', ' ')}.", ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys(step.config):
        default = "*required*" if key.default is None else f"`{key.default}`" if key.default else ""
        cells = (f"`{key.name}`", key.kind, default, key.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


GENERATED: dict[str, Callable[[], str]] = {
    "<!-- the road -->": road_table,
    "<!-- the steps -->": step_keys,
}
