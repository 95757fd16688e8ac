"""A local server that plays OpenAI's storage and the Hugging Face hub, well and badly; entries whose files it has."""

import dataclasses
import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from checkpoints_convert.fetching import download as downloads
from checkpoints_convert.fetching import hub
from checkpoints_convert.tables.catalogue import File

CONTENT = bytes(range(256)) * 4000  # about a megabyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(ThreadingHTTPServer):
    """Serves `files`; `cuts`: after how many bytes the next answers break off; `statuses`: their error codes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int | None] = []
        self.statuses: list[int] = []
        self.ranges = True
        self.length = True
        self.start = 0  # where an answer begins beyond what was asked for
        self.size: int | None = None  # of the file, as a refusal tells it
        self.log: list[tuple[str, str, str | None]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that goes away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.log.append((self.command, self.path, asked))
        server.gate.wait(10)
        body = server.files.get(self.path.split("?")[0])
        status = (
            server.statuses.pop(0) if server.statuses and self.command == "GET" else 200 if body is not None else 404
        )
        if status != 200:
            return self.answer(status, b"<html>an error page</html>")
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start >= len(body) and start:
            return self.answer(416, b"", {"Content-Range": f"bytes */{server.size or len(body)}"})
        start += server.start if start else 0
        extra = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        return self.answer(206 if start else 200, body[start:], extra)

    do_HEAD = do_GET

    def answer(self, status, body, extra=None):
        server = self.server
        self.send_response(status)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        digest = hashlib.sha256(server.files.get(self.path.split("?")[0], b"")).hexdigest()
        for name, value in {
            "ETag": f'"{digest}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
            **(extra or {}),
        }.items():
            self.send_header(name, value)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        if not server.length:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            cut = server.cuts.pop(0) if server.cuts else None
            self.wfile.write(body[:cut])
            self.close_connection = cut is not None or not server.length

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server, no proxies, short pauses, and caches of our own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    server = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("PIXELS_OPENAI_URL", f"{server.url}/clip")
    server.files["/file.pt"] = CONTENT
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def archive(server, monkeypatch):
    """An entry like OpenAI's, whose file the server has."""
    entry = dataclasses.replace(hub.find("ViT-B/32"), files=(File("ViT-B-32.pt", None, SHA256),))
    server.files[f"/clip/{SHA256}/ViT-B-32.pt"] = CONTENT
    return entry


@pytest.fixture
def repository(server):
    """An entry like transformers', whose files the server has as the hub has them."""
    weights = File("pytorch_model.bin", len(CONTENT), SHA256)
    files = (weights, File("config.json"), File("preprocessor_config.json"), File("merges.txt", optional=True))
    entry = dataclasses.replace(hub.find("openai/clip-vit-base-patch32"), files=files, revision=COMMIT)
    for name, content in (
        ("pytorch_model.bin", CONTENT),
        ("config.json", b'{"a": 1}'),
        ("preprocessor_config.json", b"{}"),
    ):
        server.files[f"/{entry.repo}/resolve/{COMMIT}/{name}"] = content
    return entry
