"""Serves the page at `/`, that of the API at `/docs`, their files, and the model's report and examples, all from memory."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from litestar import Response, get, route
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect

from service.http.record import Request
from service.http.status import PROBE_METHODS

WEB = Path(__file__).parent.parent / "web"
REPORT, EXAMPLES = "report", "examples"  # folders in a model folder
INDEX = "index.html"
DOCS = "docs.html"

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    content: bytes
    media_type: str
    etag: str  # weak, since the same file may be sent compressed


Files = Mapping[str, File]


def read_files(folder: Path, pattern: str = "*") -> Files:
    """The files of a folder that a page can use, by their paths in it; none if there is no such folder."""
    files = {}
    for path in sorted(folder.glob(pattern)):
        if path.suffix in _TYPES and path.is_file():
            name, content = path.relative_to(folder).as_posix(), path.read_bytes()
            files[name] = File(content, _TYPES[path.suffix], f'W/"{hashlib.sha256(content).hexdigest()[:32]}"')
    return files


@route("/", http_method=PROBE_METHODS, sync_to_thread=False, include_in_schema=False)
def page(request: Request, web: NamedDependency[Files]) -> Response[bytes]:
    return _answer(request, web, INDEX)


@route("/web/{path:path}", http_method=PROBE_METHODS, sync_to_thread=False, include_in_schema=False)
def page_file(request: Request, web: NamedDependency[Files], path: FromPath[str]) -> Response[bytes]:
    return _answer(request, web, path.removeprefix("/"))


@route("/docs", http_method=PROBE_METHODS, sync_to_thread=False, include_in_schema=False)
def docs(request: Request, web: NamedDependency[Files]) -> Response[bytes] | Redirect:
    """The page's own addresses are relative, for a proxy that adds a prefix; so with a slash at its end it lies elsewhere."""
    return Redirect("../docs") if request.scope["raw_path"].endswith(b"/") else _answer(request, web, DOCS)


@get("/report", sync_to_thread=False, include_in_schema=False)
def report(request: Request) -> Redirect:
    return Redirect(INDEX if request.scope["raw_path"].endswith(b"/") else f"report/{INDEX}")


@get("/report/{name:str}", sync_to_thread=False, include_in_schema=False)
def report_file(request: Request, report_files: NamedDependency[Files], name: FromPath[str]) -> Response[bytes]:
    return _answer(request, report_files, name)


@get("/examples/{name:str}", sync_to_thread=False, include_in_schema=False)
def example(request: Request, examples: NamedDependency[Files], name: FromPath[str]) -> Response[bytes]:
    return _answer(request, examples, name)


def _answer(request: Request, files: Files, name: str) -> Response[bytes]:
    """Browsers keep a file but ask each time, so that a new version shows at once and an old one costs a 304."""
    if name not in files:
        raise NotFoundException("there is no such file")
    file = files[name]
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, media_type=file.media_type, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
