"""A hub of our own on localhost: the real one's addresses, headers, redirects, ranges, faults."""

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

LARGE = 1000
"""From this many bytes on a file is in LFS: named by SHA-256, and sent by another address."""


@dataclass
class FakeHub:
    """Models by id, each with revisions; every request is recorded."""

    address: str = ""
    models: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """id -> branch or commit -> file -> content."""
    token: str | None = None
    """What must be sent; None: nothing."""
    cut: set[str] = field(default_factory=set)
    """Files whose next transfer ends in the middle."""
    broken: set[str] = field(default_factory=set)
    """Kinds of request that fail once: revision, tree, paths-info, resolve."""
    damaged: set[str] = field(default_factory=set)
    """Files that arrive with another content of the same length."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def publish(self, hub_id: str, files: dict[str, bytes], *branches: str) -> str:
        """Put files on branches (`main` where none is named); the commit."""
        digest = hashlib.sha1()
        for name, content in files.items():
            digest.update(name.encode() + content)
        commit = digest.hexdigest()
        for name in (commit, *(branches or ("main",))):
            self.models.setdefault(hub_id, {})[name] = files
        return commit

    def commit(self, hub_id: str, revision: str) -> str:
        revisions = self.models[hub_id]
        files = revisions[revision]
        return next(n for n, other in revisions.items() if other is files and len(n) == 40)

    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for, in order."""
        return [path.rsplit("/", 1)[-1] for method, path, _ in self.requests if method == "GET"]


@contextlib.contextmanager
def running():
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _entry(name, content):
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "oid": blob, "size": len(content), "path": name}
    if len(content) >= LARGE:
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def _answer(self):
        hub, url = self.hub, urlparse(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(url.path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        hub.requests.append((self.command, path, headers))
        parts = path.strip("/").split("/")
        if parts[0] == "cdn":
            return self._content(parts[-1], self._blob(parts[1]))
        given = self.headers.get("Authorization")
        api = parts[:2] == ["api", "models"]
        hub_id = "/".join(parts[2:4] if api else parts[:2])
        if hub_id not in hub.models or (hub.token and given != f"Bearer {hub.token}"):
            # The real hub does not tell the private from the absent.
            return self._refuse(401, "RepoNotFound", "Repository not found")
        kind, revision = (parts[4], parts[5]) if api else (parts[2], parts[3])
        if kind in hub.broken:
            hub.broken.discard(kind)
            return self._refuse(500, "Broken", "the hub stumbled")
        if revision not in hub.models[hub_id]:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = hub.models[hub_id][revision]
        commit = hub.commit(hub_id, revision)
        if kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self._json({"id": hub_id, "sha": commit, "siblings": siblings})
        if kind == "tree":
            return self._json([_entry(*item) for item in files.items()])
        if kind == "paths-info":
            wanted = parse_qs(body.decode())["paths"]
            return self._json([_entry(name, files[name]) for name in wanted if name in files])
        return self._resolve("/".join(parts[4:]), files, commit)

    def _resolve(self, name, files, commit):
        if name not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        entry = _entry(name, files[name])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{entry["oid"]}"'}
        if "lfs" not in entry:
            return self._content(name, files[name], headers)
        sha256 = entry["lfs"]["oid"]
        headers |= {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(files[name]))}
        # Another host than the hub's: the library follows redirects within it by itself.
        elsewhere = self.hub.address.replace("127.0.0.1", "localhost")
        headers |= {"Location": f"{elsewhere}/cdn/{sha256}/{name}"}
        return self._send(302, b"", headers)

    def _blob(self, sha256):
        revisions = (files for model in self.hub.models.values() for files in model.values())
        contents = (content for files in revisions for content in files.values())
        return next(c for c in contents if hashlib.sha256(c).hexdigest() == sha256)

    def _content(self, name, content, headers=None):
        headers = dict(headers or {})
        if name in self.hub.damaged:
            content = content[::-1]
        start, status = 0, 200
        if span := self.headers.get("Range"):
            start, status = int(span.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        content = content[start:]
        cut = self.command == "GET" and name in self.hub.cut
        self._send(status, content, headers, len(content) // 2 if cut else None)
        if cut:
            self.hub.cut.discard(name)

    def _json(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status, code, message):
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status, body, headers, shown=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:shown])
        if shown is not None:
            self.close_connection = True
