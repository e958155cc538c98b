"""Write the road's table into `roadmap.md`, so that the page and the command cannot differ."""

from typing import Any

from lmwright.roadmap.topics import load_road

MARK = "<!-- the road -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this with the source of every page."""
    return markdown.replace(MARK, road_table()) if MARK in markdown else markdown


def road_table() -> str:
    """Every stage with its topics: what works means, and what runs it."""
    lines = []
    for stage in load_road().stages:
        number = "" if stage.id == "B" else f"{stage.id}. "
        lines += [f"### {number}{stage.title}", ""]
        lines += ["| | topic | it works when | run it |", "|---|---|---|---|"]
        for topic in stage.topics:
            how = f"`{topic.how}`" if topic.how else "planned"
            works = topic.works + (f"<br>*So far: {topic.note}*" if topic.note else "")
            title = f"[{topic.title}]({topic.page})" if topic.page else topic.title
            lines.append(f"| {topic.id} | {title} | {works} | {how} |")
        lines.append("")
    return "\n".join(lines)
