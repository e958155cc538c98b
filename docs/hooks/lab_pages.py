"""A page for each lab, from its folder: `python docs/hooks/lab_pages.py` writes them anew.

They are committed, so that a reader of the repository finds them, and a test holds them against the
labs. mkdocs finds here where they belong in the navigation.
"""

import re
import sys
from pathlib import Path
from typing import Any

from lmwright.roadmap.lab import Lab, all_labs
from lmwright.roadmap.topics import load_road

PAGES = Path(__file__).resolve().parents[1] / "labs"
_COMMANDS = """\
```console
$ lmwright lab start {id}      # writes mine/{id}.py and mine/test_{id}.py
$ lmwright lab watch {id}      # checks at every save
$ lmwright lab hint {id}       # a question that helps
$ lmwright lab twist {id}      # a variant of your own
$ lmwright lab test {id}       # do your tests notice wrong versions?
$ lmwright lab prove {id}      # {says}
$ lmwright run quickstart --use mine.{id}
```"""


def on_config(config: Any) -> Any:
    """mkdocs calls this before it reads pages: every lab joins the navigation below `labs.md`."""
    for section in config["nav"]:
        for name, entries in section.items() if isinstance(section, dict) else ():
            if isinstance(entries, list) and {"Labs": "labs.md"} in entries:
                place = entries.index({"Labs": "labs.md"})
                pages: list[Any] = [{lab.id: f"labs/{lab.id}.md"} for lab in all_labs().values()]
                section[name] = [
                    *entries[:place],
                    {"Labs": ["labs.md", *pages]},
                    *entries[place + 1 :],
                ]
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """mkdocs calls this with the source of every page."""
    return markdown.replace("<!-- the labs -->", labs_table())


def labs_table() -> str:
    """Every lab with its topic and what is written."""
    lines = [
        "| lab | topic | what you write | takes the place of | minutes |",
        "|---|---|---|---|---|",
    ]
    for lab in all_labs().values():
        topics = ", ".join(lab.topics)
        row = (
            f"[{lab.id}](labs/{lab.id}.md)",
            topics,
            lab.title,
            f"`{lab.target}`",
            str(lab.minutes),
        )
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def page(lab: Lab) -> str:
    """A lab's page: what is asked, what the check holds it to, and the commands."""
    specification = lab.text("spec.md").strip().partition("\n")[2]
    specification = specification.replace("```python worked", "```python")
    # Markdown wants an empty line before a list; readers of the plain text do not.
    specification = re.sub(r"(?m)^(?!- |\d\. |\s)(.+)\n(?=- |1\. )", r"\1\n\n", specification)
    specification = re.sub(r"(?<=\n\n)( {0,3}[^\s-].*)\n(?=- |1\. )", r"\1\n\n", specification)
    parts = [
        f"# Lab {lab.id}: {lab.title}",
        f"{_topics(lab)} · about {lab.minutes} minutes · takes the place of `{lab.target}`",
        _COMMANDS.format(id=lab.id, says=lab.proof.says),
        specification.strip(),
        "## What the check holds it to",
        "In this order; it stops at the first that does not hold, on the smallest case it finds.",
        _properties(lab),
        "## Your twist is one of",
        "\n".join(
            f"- **{name.replace('_', ' ')}.** {twist.asks}" for name, twist in lab.twists().items()
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _topics(lab: Lab) -> str:
    road = load_road()
    topics = [road.topic(id) for id in lab.topics]
    return ", ".join(
        f"[{topic.id} {topic.title}](../{topic.page})"
        if topic.page
        else f"{topic.id} {topic.title}"
        for topic in topics
    )


def _properties(lab: Lab) -> str:
    """Numbered, with the named edges; how many random cases there are changes too often to tell."""
    lines = ["| | property | edges |", "|---|---|---|"]
    for number, rule in enumerate(lab.properties(), start=1):
        says = rule.says.replace("|", "\\|")
        lines.append(f"| {number} | {says} | {', '.join(rule.edges)} |")
    return "\n".join(lines)


def main() -> None:
    """Write every page that is not as it should be, and remove those without a lab."""
    labs = all_labs()
    PAGES.mkdir(exist_ok=True)
    for lab in labs.values():
        path, text = PAGES / f"{lab.id}.md", page(lab)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    for path in PAGES.glob("*.md"):
        if path.stem not in labs:
            path.unlink()
            print(f"removed {path}")


if __name__ == "__main__":
    sys.exit(main())
