"""The page's files: whole, small, of this house alone, and asked for again only when they changed."""

import re

import httpx
import pytest

from service.http.pages import WEB, read_files
from tests.conftest import encode, grey, running_service

FILES = sorted(path.name for path in WEB.iterdir())
MOST_BYTES = 150_000


@pytest.mark.parametrize(
    "name", ["", *(f"web/{name}" for name in FILES), "report/index.html", "report/report.css", "report/roc.png"]
)
def test_a_file_comes_with_its_type_and_tag_and_under_the_policy(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
    kinds = {
        "": "text/html",
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
        "png": "image/png",
        "html": "text/html",
    }
    assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    again = client.get(f"/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_report_leads_to_its_page(client: httpx.Client) -> None:
    answer = client.get("/report")
    assert (answer.status_code, answer.headers["location"]) == (302, "/report/index.html")


@pytest.mark.parametrize(
    "path", ["/web/none.js", "/web/..%2fpages.py", "/report/..%2fmodel.json", "/report/%2e%2e/model.json", "/web/"]
)
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_needs_no_token_and_the_report_does() -> None:
    with running_service(token="s3cret") as client:
        assert client.get("/").status_code == client.get("/web/main.js").status_code == 200
        assert client.get("/report/index.html").status_code == 401
        assert client.get("/report/index.html", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_all_files_together_are_small() -> None:
    assert sum(len(file.content) for file in read_files(WEB).values()) <= MOST_BYTES
    assert len(read_files(WEB)) == len(FILES), "a file has no type"


def test_a_visit_fetches_little_with_all_that_it_asks_of_the_model(client: httpx.Client) -> None:
    fetched = 0
    for path in ("/", *(f"/web/{name}" for name in FILES), "/model-info"):
        with client.stream("GET", path) as answer:
            fetched += len(b"".join(answer.iter_raw()))
    assert fetched <= MOST_BYTES / 2


@pytest.mark.parametrize("path", ["/web/main.js", "/model-info", "/report/index.html"])
def test_who_knows_no_compression_gets_none(client: httpx.Client, path: str) -> None:
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    compressed = client.get(path)
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.content == plain.content


def test_an_answer_to_an_image_is_not_compressed(client: httpx.Client) -> None:
    answer = client.post("/predict?heatmap=true", content=encode(grey(300, 300)))
    assert len(answer.content) > 1000
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host_or_styles_inline(name: str) -> None:
    text = (WEB / name).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= {"http://www.w3.org/2000/svg", "http://this-host/predict"}
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|\sstyle=|<style|\son\w+=\"", text)
