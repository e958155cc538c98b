"""What the road's page is told, and who may ask."""

import json

import pytest
from starlette.testclient import TestClient

from lmwright.roadmap import server, view
from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.record import Record, road_file
from lmwright.roadmap.states import lab_state
from lmwright.roadmap.verdicts import keep_verdict, last_verdict
from tests.roadmap.road import chain, check

HERE = {"Host": "127.0.0.1:8008"}
WRONG = {
    "seed": 7,
    "seconds": 0.1,
    "results": [
        {"says": "it is a mean", "status": "ok", "cases": 60, "worst": 1e-7, "failure": None},
        {
            "says": "heads are repeated",
            "status": "wrong",
            "cases": 2,
            "worst": 0.0,
            "failure": {
                "case": ["B=1 H=2"],
                "message": "",
                "where": "[0, 1]",
                "yours": "[1 2]",
                "expected": "[2 1]",
                "diagnosis": "attention with tiled heads",
                "line": "",
                "final": False,
            },
        },
        {"says": "masks", "status": "waits", "cases": 0, "worst": 0.0, "failure": None},
    ],
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LMWRIGHT_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def client():
    return TestClient(server.create_app(), headers=HERE)


def test_the_road_is_read_anew_for_every_answer(client):
    found = client.get("/road.json").json()
    assert len([topic for stage in found["stages"] for topic in stage["topics"]]) == 44
    assert found["labs"]["attention"]["word"] == "none"
    assert not found["begun"]

    Record.open().append("start", lab="attention")

    found = client.get("/road.json").json()
    assert found["labs"]["attention"]["word"] == "started"
    assert found["begun"]
    road_file().write_bytes(road_file().read_bytes() + b"torn")
    assert "line 2: torn" in client.get("/road.json").json()["problems"][0]


def test_a_lab_has_its_specification_and_its_last_check(client):
    kind, fields = check("attention", "a" * 64, passed=1)
    Record.open().append(kind, **fields)
    found = client.get("/labs/attention.json").json()
    assert found["spec"].startswith("<h1>Attention</h1>")
    assert found["check"]["passed"] == 1
    assert found["check"]["results"] == [], "the verdict was not kept"
    assert found["check"]["again"] == "lmwright lab check attention --seed 7"

    keep_verdict("attention", sha256="a" * 64, verdict=WRONG)
    assert client.get("/labs/attention.json").json()["check"]["results"] == WRONG["results"]
    keep_verdict("attention", sha256="b" * 64, verdict=WRONG)
    assert client.get("/labs/attention.json").json()["check"]["results"] == []


def test_a_verdict_that_was_torn_is_none(tmp_path):
    assert last_verdict("attention") is None
    keep_verdict("attention", sha256="a", verdict=WRONG, problem="it raised")
    assert last_verdict("attention") == {"sha256": "a", "verdict": WRONG, "problem": "it raised"}
    (tmp_path / "home" / "checks" / "attention.json").write_text('{"verd')
    assert last_verdict("attention") is None


def test_tries_are_those_since_the_last_reset():
    steps = [check("attention", "a" * 64, passed=n) for n in (1, 2)]
    events = chain(
        [*steps, ("reset", {"lab": "attention"}), check("attention", "b" * 64, passed=3)]
    )
    lab = find_lab("attention")
    shown = view.lab_page(lab, lab_state(lab, "", events, []), events, None)
    assert [row["passed"] for row in shown["tries"]] == [3]


@pytest.mark.parametrize("path", ["/labs/nothing.json", "/labs/..%2f..%2fx.json", "/nothing"])
def test_what_is_not_there_is_not_found(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8008"},
        {**HERE, "Origin": "https://evil.example"},
        {**HERE, "Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/road.json", "/labs/attention.json", "/page/road.js"])
def test_foreign_hosts_and_origins_are_refused(headers, path):
    client = TestClient(server.create_app())
    assert client.get(path, headers=headers).status_code == 403


def test_nothing_can_be_sent(client):
    for path in ("/", "/road.json", "/labs/attention.json"):
        for method in ("post", "put", "delete", "patch"):
            assert getattr(client, method)(path).status_code == 405


@pytest.mark.parametrize(
    "name", ["", "page/road.js", "page/style.css", "page/detail.css", "favicon.svg"]
)
def test_the_page_binds_the_browser_to_this_server(client, name):
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_record_that_cannot_be_read_is_said(client, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMWRIGHT_HOME", str(tmp_path / "file" / "home"))
    answer = client.get("/road.json")
    assert answer.status_code == 500
    assert "cannot be read" in answer.json()["error"]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "text <b onclick='x()'>bold</b>",
        "![picture](https://example.com/a.png)",
        "[link](javascript:alert(1))",
        "<div>\n\nblock\n\n</div>",
        "```\n</code></pre><script>x</script>\n```",
        "`<script>`",
    ],
)
def test_a_specification_is_text_and_never_markup(text):
    html = view.to_html(text)
    for forbidden in ("<script", "<img", "<b ", "<div", 'href="javascript'):
        assert forbidden not in html


def test_tables_and_code_are_shown():
    html = view.to_html(
        "| a | b |\n|---|---|\n| 1 | `x < y` |\n\n```python worked\nf(x)\n-> 1\n```"
    )
    assert "<td><code>x &lt; y</code></td>" in html
    assert '<pre><code class="language-python">f(x)\n-&gt; 1\n</code></pre>' in html


def test_every_labs_specification_can_be_shown(client):
    for name in client.get("/road.json").json()["labs"]:
        assert "<h" in client.get(f"/labs/{name}.json").json()["spec"]


def test_the_answers_are_json_without_paths_of_this_machine(client, tmp_path):
    Record.open().append("start", lab="attention")
    assert str(tmp_path) not in json.dumps(client.get("/road.json").json())
