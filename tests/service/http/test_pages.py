"""The page's files: complete, small, without other hosts, and fetched again only after a change."""

import re

import httpx
import pytest

from service.http.pages import WEB, read_files
from tests.service.http.helpers import MODEL, PNG

FILES = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*") if path.is_file())
MAX_BYTES, MAX_COMPRESSED = 180_000, 80_000
MEDIA_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "png": "image/png", "svg": "image/svg+xml"}
PATHS = ["/", "/docs", *(f"/web/{name}" for name in FILES)]


@pytest.mark.parametrize("path", [*PATHS, "/report/report.css", "/report/roc.png"])
def test_a_file_has_its_type_its_tag_and_the_content_policy(client: httpx.Client, path: str) -> None:
    answer = client.get(path).raise_for_status()
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith(MEDIA_TYPES[path.partition(".")[2] or "html"])
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_of_the_api_shows_a_command_for_each_address_and_links_openapi(client: httpx.Client) -> None:
    page = client.get("/docs").raise_for_status().text
    described = client.get("/schema/openapi.json").json()["paths"]
    addresses = {path.replace(MODEL, "NAME"): [*methods] for path, methods in described.items()}
    listed = re.findall(r"<h3><code>(GET|POST) (.*)</h3>", page)
    assert set(addresses) < {path for _, line in listed for path in re.findall(r"/[\w/.-]+(?=</code>)", line)}
    for method, line in listed:
        for path in set(re.findall(r"/[\w/.-]+(?=</code>)", line)) & set(addresses):
            assert method.lower() in addresses[path]
    assert page.count("<pre>curl") + page.count("  curl") > len(listed)
    assert 'href="schema/openapi.json"' in page


def test_report_redirects_to_its_page(client: httpx.Client) -> None:
    answer = client.get("/report")
    assert (answer.status_code, answer.headers["location"]) == (302, "report/index.html")


def test_no_other_file_is_served(client: httpx.Client) -> None:
    outside = ("/web/..%2fapp.py", "/web/style/..%2fmain.js", "/report/..%2fmodel.json", "/report/%2e%2e/model.json")
    for path in (*outside, "/web/none.js", "/web/", "/web/style", "/web/style/none.css"):
        assert client.get(path).status_code == 404, path


def test_all_files_together_are_small(client: httpx.Client) -> None:
    files = read_files(WEB, "**/*")
    assert sorted(files) == FILES, "a file has no type"
    assert sum(len(file.content) for file in files.values()) <= MAX_BYTES
    visit = ["/", *(f"/web/{name}" for name in FILES if name != "index.html" and "docs." not in name), "/model-info"]
    assert sum(client.get(path).num_bytes_downloaded for path in visit) <= MAX_COMPRESSED


@pytest.mark.parametrize("path", ["/web/main.js", "/web/viewer/stage.js", "/model-info", "/report/index.html"])
def test_only_clients_that_accept_compression_get_it(client: httpx.Client, path: str) -> None:
    plain, compressed = client.get(path, headers={"Accept-Encoding": "identity"}), client.get(path)
    assert "content-encoding" not in plain.headers
    assert (compressed.headers["content-encoding"], compressed.content) == ("gzip", plain.content)


def test_a_prediction_is_not_compressed(client: httpx.Client) -> None:
    answer = client.post("/predict?heatmap=true", content=PNG)
    assert len(answer.content) > 1000
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host_or_styles_inline(name: str) -> None:
    text = (WEB / name).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= {"http://www.w3.org/2000/svg", "http://this-host/predict"}
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|\sstyle=|<style|\son\w+=\"", text)
