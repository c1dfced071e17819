"""A package index of tiny wheels on this machine, and projects locked against it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


def wheel(name: str, version: str, files: Mapping[str, str]) -> tuple[str, bytes]:
    """A wheel of pure Python: its file name and its bytes."""
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},{_record(text)}" for path, text in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in contents.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return f"{name}-{version}-py3-none-any.whl", target.getvalue()


def source_only(name: str, version: str) -> tuple[str, bytes]:
    """A source archive with a build script; who installs it runs that."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for path, text in {
            "setup.py": f"from setuptools import setup\nsetup(name={name!r}, version={version!r})\n",
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        }.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return f"{name}-{version}.tar.gz", target.getvalue()


def _record(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(text.encode())}"


@dataclass
class Index:
    """What is served, and who asked for what."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Files that are served with other bytes."""

    def add(self, entry: tuple[str, bytes]) -> None:
        self.files[entry[0]] = entry[1]

    def page(self, project: str) -> bytes | None:
        names = [name for name in self.files if _project(name) == project]
        links = [f'<a href="/files/{name}#sha256={_hex(self.files[name])}">{name}</a>' for name in names]
        return ("<html><body>" + "".join(links) + "</body></html>").encode() if names else None


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serve() -> Iterator[Index]:
    """Serve an index on a free port of the loopback."""
    index = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, whole: bool) -> None:
            if whole:
                index.asked.append(self.path)
            parts = self.path.strip("/").split("/")
            body = index.page(parts[1]) if parts[0] == "simple" and len(parts) == 2 else None
            if parts[0] == "files":
                body = index.files.get(parts[-1])
                body = body[:-1] + b"!" if body is not None and parts[-1] in index.broken else body
            self.send_response(404 if body is None else 200)
            self.send_header(
                "Content-Type", "text/html" if parts[0] == "simple" else "application/octet-stream"
            )
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if whole:
                self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


def locked(uv: Path, index: Index, folder: Path, dependencies: list[str]) -> dict[str, bytes]:
    """``pyproject.toml`` and ``uv.lock`` of a project with these dependencies."""
    folder.mkdir(parents=True, exist_ok=True)
    named = ", ".join(f'"{name}"' for name in dependencies)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "tiny"\nversion = "0"\nrequires-python = ">=3.11"\n'
        f"dependencies = [{named}]\n[tool.uv]\nenvironments = [\"sys_platform == '{sys.platform}'\"]\n"
    )
    subprocess.run(
        [str(uv), "lock", "--default-index", f"{index.url}/simple", "--quiet"],
        cwd=folder,
        check=True,
        timeout=120,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "UV_CACHE_DIR": str(folder / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_PROXY": "127.0.0.1",
            "UV_HTTP_RETRIES": "0",
        },
    )
    return {name: (folder / name).read_bytes() for name in ("pyproject.toml", "uv.lock")}


def _project(name: str) -> str:
    return name.partition("-")[0].lower().replace("_", "-").replace(".", "-")
