"""The page's files: complete, small, without other hosts, and fetched again only after a change."""

import re

import httpx
import pytest

from service.http.pages import WEB, read_files
from tests.conftest import encode, grey

FILES = sorted(path.name for path in WEB.iterdir())
MAX_BYTES = 150_000
MEDIA_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "png": "image/png", "svg": "image/svg+xml"}


@pytest.mark.parametrize("name", ["", *(f"web/{name}" for name in FILES), "report/report.css", "report/roc.png"])
def test_a_file_has_its_type_its_tag_and_the_content_policy(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith(MEDIA_TYPES[name.rpartition(".")[2] or "html"])
    again = client.get(f"/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_report_redirects_to_its_page(client: httpx.Client) -> None:
    answer = client.get("/report")
    assert (answer.status_code, answer.headers["location"]) == (302, "/report/index.html")


@pytest.mark.parametrize(
    "path", ["/web/none.js", "/web/..%2fapp.py", "/report/..%2fmodel.json", "/report/%2e%2e/model.json", "/web/"]
)
def test_no_other_file_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_all_files_together_are_small() -> None:
    assert sum(len(file.content) for file in read_files(WEB).values()) <= MAX_BYTES
    assert len(read_files(WEB)) == len(FILES), "a file has no type"


def test_a_visit_with_the_model_info_fetches_few_bytes(client: httpx.Client) -> None:
    fetched = 0
    for path in ("/", *(f"/web/{name}" for name in FILES), "/model-info"):
        with client.stream("GET", path) as answer:
            fetched += len(b"".join(answer.iter_raw()))
    assert fetched <= MAX_BYTES / 2


@pytest.mark.parametrize("path", ["/web/main.js", "/model-info", "/report/index.html"])
def test_only_clients_that_accept_compression_get_it(client: httpx.Client, path: str) -> None:
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    compressed = client.get(path)
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.content == plain.content


def test_a_prediction_is_not_compressed(client: httpx.Client) -> None:
    answer = client.post("/predict?heatmap=true", content=encode(grey(300, 300)))
    assert len(answer.content) > 1000
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host_or_styles_inline(name: str) -> None:
    text = (WEB / name).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= {"http://www.w3.org/2000/svg", "http://this-host/predict"}
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|\sstyle=|<style|\son\w+=\"", text)
