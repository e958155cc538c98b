"""Who is answered: Host, Origin, and the headers every answer carries."""

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.serving.access import allowed_origins
from lmwright.serving.guard import Hosts, same_origin
from lmwright.serving.keys import Keys

PATHS = ["/", "/v1/models", "/health/live", "/metrics", "/page/app.js", "/openapi.json"]


@pytest.fixture(scope="module")
def server(server_context, scripted):
    from lmwright.serving.model import Loaded

    engine = scripted()
    with server_context(lambda: Loaded(engine), engine=engine) as server:
        yield server


@pytest.mark.parametrize("path", PATHS)
def test_a_foreign_host_is_refused_everywhere(server, path):
    with server.client() as client:
        for host in ("evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""):
            response = client.get(path, headers={"host": host})
            assert response.status_code == 403, host
            assert response.json()["error"]["code"] == "foreign_host"


@pytest.mark.parametrize("path", PATHS)
def test_a_foreign_origin_is_refused_everywhere(server, path):
    with server.client() as client:
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{server.port + 1}", ""):
            response = client.get(path, headers={"origin": origin})
            assert response.status_code == 403, origin
            assert response.json()["error"]["code"] == "foreign_origin"


def test_a_foreign_page_can_neither_ask_nor_ask_whether_it_may(server):
    headers = {"origin": "http://evil.example"}
    with server.client() as client:
        asked = client.post("/v1/chat/completions", json=server.chat(), headers=headers)
        preflight = client.options("/v1/chat/completions", headers=headers)
    for response in (asked, preflight):
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    assert server.engine.seen == []


def test_our_own_names_and_origin_are_answered(server):
    with server.client() as client:
        for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
            host = f"{name}:{server.port}"
            headers = {"host": host, "origin": f"http://{host}"}
            assert client.get("/v1/models", headers=headers).status_code == 200


def test_every_answer_forbids_scripts_from_elsewhere(server):
    with server.client() as client:
        for path in (*PATHS, "/nothing"):
            headers = client.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("bound", "allowed", "host", "answered"),
    [
        ("127.0.0.1", (), "localhost:8000", True),
        ("127.0.0.1", (), "[::1]:8000", True),
        ("127.0.0.1", (), "192.168.0.7:8000", False),
        ("192.168.0.7", (), "192.168.0.7:8000", True),
        ("0.0.0.0", (), "192.168.0.7:8000", True),
        ("::", (), "[fe80::1]:8000", True),
        ("0.0.0.0", (), "my-server:8000", False),
        ("0.0.0.0", ("my-server",), "My-Server:8000", True),
        ("127.0.0.1", ("*",), "anything.example", True),
        ("127.0.0.1", (), "localhost:port", False),
        ("127.0.0.1", (), "user@localhost", False),
        ("127.0.0.1", (), "localhost/path", False),
        ("127.0.0.1", (), "", False),
    ],
)
def test_which_hosts_are_ours(bound, allowed, host, answered):
    assert Hosts(bound, allowed).accept(host) is answered


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("https://chat.example", "chat.example", True),
        ("http://chat.example", "chat.example:80", True),
        ("http://localhost:3000", "localhost:8000", False),
        ("http://127.0.0.1:8000", "localhost:8000", False),
        ("null", "localhost:8000", False),
        ("file://", "localhost:8000", False),
        ("http://localhost:8000/path", "localhost:8000", False),
        ("http://localhost:8000@evil.example", "localhost:8000", False),
        ("http://[bad", "localhost:8000", False),
    ],
)
def test_which_origin_is_ours(origin, host, same):
    assert same_origin(origin, host) is same


ALLOWED = "https://chat.example"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "x"}


def test_an_allowed_origin_may_ask_and_no_other(serve):
    server = serve(origins=allowed_origins([ALLOWED + "/"]), keys=Keys(["a-key-of-ours"]))
    headers = {"origin": ALLOWED}
    with server.client() as client:
        preflight = client.options("/v1/chat/completions", headers=headers | PREFLIGHT)
        asked = client.get(
            "/v1/models", headers=headers | {"authorization": "Bearer a-key-of-ours"}
        )
        other = client.options(
            "/v1/chat/completions", headers={"origin": "https://evil.example"} | PREFLIGHT
        )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == ALLOWED
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ALLOWED
    assert asked.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in asked.headers
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origin", ["chat.example", "https://", "ftp://a", "https://a/b", "null"])
def test_what_is_no_origin_cannot_be_allowed(origin):
    with pytest.raises(LmwrightError, match="origin"):
        allowed_origins([origin])
