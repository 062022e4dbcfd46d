"""`POST /preview`: the image as the model gets it, for clients that cannot show it themselves."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from service.images.decode import decode_image
from tests.conftest import dicom_of, encode, grey, running_service
from tests.service.http.helpers import PNG, assert_problem

DICOM = dicom_of(grey(300, 260))
BIG = encode(grey(2000, 1800), "JPEG")


@pytest.mark.parametrize("content", [DICOM, PNG, BIG], ids=["DICOM", "PNG", "JPEG that is shrunk"])
@pytest.mark.parametrize("as_form", [False, True])
def test_it_is_a_grey_png_of_what_the_decoder_gives(client: httpx.Client, content: bytes, as_form: bool) -> None:
    answer = client.post("/preview", **({"files": {"image": content}} if as_form else {"content": content})).raise_for_status()
    assert answer.headers["content-type"] == "image/png" and "content-encoding" not in answer.headers
    with Image.open(io.BytesIO(answer.content), formats=["PNG"]) as image:
        assert image.mode == "L"
        assert (np.asarray(image) == decode_image(content).grey).all()


def test_what_cannot_be_read_is_refused_as_by_predict(client: httpx.Client) -> None:
    assert_problem(client.post("/preview", content=b"no image"), 415, "neither JPEG nor PNG nor DICOM")
    assert_problem(client.post("/preview", content=b'{"image": ""}'), 415, "JSON goes to /v2")
    assert_problem(
        client.post("/preview", content=PNG, params={"heatmap": True}), 400, "no parameter of this address; it takes none"
    )
    assert_problem(client.post("/preview", files=[("image", PNG)] * 2), 400, "needs the field «image» once")
    assert_problem(client.get("/preview"), 405, "-F image=@xray.dcm")


def test_it_needs_the_token_and_counts_as_work() -> None:
    with running_service(token="s3cret-token", max_body_bytes=1000) as client:
        assert client.post("/preview", content=PNG).status_code == 401
        token = {"Authorization": "Bearer s3cret-token"}
        assert client.post("/preview", content=BIG, headers=token).status_code == 413
