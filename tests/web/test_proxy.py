"""The page behind a real proxy that adds a path prefix, as nginx, Traefik and Jupyter's proxies do."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.conftest import dicom_of, free_port, grey
from tests.web.conftest import OpenPage, expect_all, expect_state, upload

PREFIX = "/lab/xray"
CONFIGURATION = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
  access_log off; client_max_body_size 50m; client_body_buffer_size 50m; proxy_max_temp_file_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; absolute_redirect off; location {prefix}/ {{ proxy_pass {service}/; }} }}
}}
"""


@pytest.fixture(scope="module")
def proxied(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, behind nginx, of a service with the default model."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("there is no nginx: apt-get install nginx-light")
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    file, address = folder / "nginx.conf", f"http://127.0.0.1:{port}{PREFIX}"
    service_address = str(client.base_url).rstrip("/")
    file.write_text(CONFIGURATION.format(folder=folder, port=port, prefix=PREFIX, service=service_address))
    process = subprocess.Popen([nginx, "-c", file, "-p", folder], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while not answers(f"{address}/health"):
            assert time.monotonic() < until and process.poll() is None, "nginx does not answer"
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_every_part_of_the_page_works_behind_a_prefix(proxied: str, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(url=proxied)
    page.locator(".example").last.click()
    expect_state(page, "result")
    expect_all(page, {"label": "Pneumonia"})
    assert page.locator(".example img").evaluate_all("all => all.every(each => each.naturalWidth > 0)")
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_of(grey(300, 260)))
    upload(page, str(path))
    expect_all(page, {"fact-size": "shrunk to 300 × 260"})  # by /preview
    for link, place in (("The model’s whole report", "/report/index.html"), ("The API", "/docs")):
        with page.expect_popup() as opened:
            page.locator("#details a", has_text=link).click()
        assert opened.value.url == f"{proxied}{place}"
    docs = opened.value
    expect(docs.locator("pre").first).to_have_text(f"curl -F image=@xray.jpeg {proxied}/predict")
    docs.get_by_role("link", name="Try the model").click()
    expect(docs.locator("#status")).to_have_attribute("data-kind", "ready")
    assert docs.url == f"{proxied}/"


def test_the_address_without_its_slash_and_redirects_stay_behind_the_prefix(proxied: str) -> None:
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        assert str(client.get(proxied).raise_for_status().url) == f"{proxied}/"
    answer = httpx.get(f"{proxied}/report", trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (302, "report/index.html")
    for address in ("report/", "docs/"):  # with a slash, what is relative would lie one level too deep
        with httpx.Client(trust_env=False, follow_redirects=True) as client:
            assert str(client.get(f"{proxied}/{address}").raise_for_status().url) in (
                f"{proxied}/report/index.html",
                f"{proxied}/docs",
            )


def test_no_file_of_the_page_names_an_address_from_the_root() -> None:
    for file in sorted((Path(__file__).parents[2] / "service" / "web").rglob("*.*")):
        text = file.read_text(encoding="utf-8")
        assert not [mark for mark in ('href="/', 'src="/', 'fetch("/', "fetch(`/") if mark in text], file
