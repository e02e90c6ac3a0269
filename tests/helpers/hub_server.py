"""A stand-in for the Hugging Face Hub: what its client asks in putting a model up and taking one
down, on this machine, with what a user may see and what not."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

TOKEN = "hf_of-the-owner"


class Hub:
    """Repositories: name -> revision -> file -> content; ``main`` is there from the start."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.asked: list[str] = []
        self.status: int | None = None  # with which everything is answered
        self.url = ""

    def sha(self, name: str, revision: str) -> str | None:
        """Of a branch, which is named by its content; a sha is its own."""
        for branch, files in self.repositories[name].items():
            found = hashlib.sha1()
            for file, content in sorted(files.items()):
                found.update(file.encode() + content)
            if revision in (branch, found.hexdigest()):
                return found.hexdigest()
        return None

    def files(self, name: str, sha: str) -> dict[str, bytes]:
        branches = self.repositories[name]
        return next(files for branch, files in branches.items() if self.sha(name, branch) == sha)


class RefusedError(Exception):
    """Status, the Hub's code for it, and a message."""


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.answered(self.get)

    def do_POST(self) -> None:
        self.answered(self.post)

    def answered(self, answer: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        try:
            if self.hub.status is not None:
                raise RefusedError(self.hub.status, "", "so it is told")
            found = answer(path.strip("/").split("/"), body)
            self.send(
                200, *(found if isinstance(found, tuple) else (json.dumps(found).encode(), {}))
            )
        except RefusedError as error:
            status, code, message = error.args
            self.send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def seen(self, user: str, name: str) -> str:
        """The repository, where this user may know of it."""
        full = f"{user}/{name}"
        there = full in self.hub.repositories
        if not there or (full in self.hub.private and not self.owner):
            raise RefusedError(404 if self.owner else 401, "RepoNotFound", "Repository not found")
        return full

    def get(self, path: list[str], body: bytes) -> Any:
        if path[:2] == ["api", "models"]:
            name, rest = self.seen(path[2], path[3]), path[4:]
            sha = self.hub.sha(name, rest[1] if rest else "main")
            if sha is None:
                raise RefusedError(404, "RevisionNotFound", "Revision not found")
            files = self.hub.files(name, sha)
            if rest and rest[0] == "tree":
                return [
                    {"type": "file", "path": file, "size": len(content),
                     "oid": hashlib.sha1(content).hexdigest()}
                    for file, content in files.items()
                ]  # fmt: skip
            return {"id": name, "sha": sha, "siblings": [{"rfilename": file} for file in files]}
        if len(path) < 5 or path[2] != "resolve":
            raise RefusedError(404, "", "nothing is there")
        user, name, _, sha, *file = path
        content = self.hub.files(self.seen(user, name), sha)["/".join(file)]
        etag = hashlib.sha1(content).hexdigest()
        return content, {"ETag": f'"{etag}"', "X-Repo-Commit": sha}

    def post(self, path: list[str], body: bytes) -> Any:
        if path == ["api", "validate-yaml"]:
            _, matter, _ = json.loads(body)["content"].split("---\n", 2)
            return {"errors": [], "warnings": [], "parsed": bool(yaml.safe_load(matter))}
        if not self.owner:
            raise RefusedError(401, "", "Invalid username or password.")
        if path == ["api", "repos", "create"]:
            asked = json.loads(body)
            full = f"{asked['organization']}/{asked['name']}"
            if asked.get("visibility") == "private" or asked.get("private"):
                self.hub.private.add(full)
            self.hub.repositories.setdefault(full, {"main": {}})
            return {"url": f"{self.hub.url}/{full}", "name": full}
        name, (what, branch) = self.seen(path[2], path[3]), path[4:6]
        branches = self.hub.repositories[name]
        if what == "branch":
            branches.setdefault(branch, dict(branches["main"]))
            return {}
        if what == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": file, **mode} for file in files]}
        assert what == "commit", path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                branches[branch][line["value"]["path"]] = content
        sha = self.hub.sha(name, branch)
        url = f"{self.hub.url}/{name}/commit/{sha}"
        return {"success": True, "commitOid": sha, "commitUrl": url}

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A hub that is asked instead of the real one, by this process."""
    from huggingface_hub import close_session, constants

    hub = Hub()
    close_session()  # connections to a server of before
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "ENDPOINT", hub.url)
            template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
            patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(constants, "HF_HUB_OFFLINE", False)
            patch.delenv("HF_TOKEN", raising=False)
            yield hub
    finally:
        server.shutdown()
        close_session()
        thread.join()
        server.server_close()
