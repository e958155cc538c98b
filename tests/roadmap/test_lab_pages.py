"""The labs' pages: one for each, as its folder says now."""

import importlib.util
from pathlib import Path

import pytest

from lmwright.roadmap.lab import all_labs, find_lab

REPOSITORY = Path(__file__).resolve().parents[2]


def hook():
    path = REPOSITORY / "docs" / "hooks" / "lab_pages.py"
    spec = importlib.util.spec_from_file_location("lab_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(all_labs()))
def test_a_lab_s_page_is_what_its_folder_says(name):
    path = REPOSITORY / "docs" / "labs" / f"{name}.md"
    assert path.is_file(), "python docs/hooks/lab_pages.py writes it"
    assert path.read_text() == hook().page(find_lab(name)), "python docs/hooks/lab_pages.py"


def test_no_page_stands_without_a_lab():
    assert {path.stem for path in (REPOSITORY / "docs" / "labs").glob("*.md")} <= all_labs().keys()


def test_every_lab_joins_the_navigation():
    config = {"nav": [{"Home": "index.md"}, {"Learn": ["a.md", {"Labs": "labs.md"}, "b.md"]}]}
    section = hook().on_config(config)["nav"][1]["Learn"]
    assert section[0] == "a.md"
    assert section[2] == "b.md"
    pages = section[1]["Labs"]
    assert pages[0] == "labs.md"
    assert [next(iter(page)) for page in pages[1:]] == list(all_labs())
