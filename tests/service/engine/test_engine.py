"""The engine without HTTP."""

import asyncio
import json
import threading

import httpx
import msgspec
import pytest

from service.engine.engine import Engine
from service.images.decode import DecodedImage, decode_image
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL
from tests.service.http.helpers import PNG


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(Settings(model=str(DEFAULT_MODEL), lanes=1))


def test_predict_now_gives_the_bits_of_the_http_interface(engine: Engine, client: httpx.Client) -> None:
    prediction = json.loads(msgspec.json.encode(engine.predict_now(decode_image(PNG))))
    answer = client.post("/predict?heatmap=true", content=PNG).json()
    assert {name: answer[name] for name in prediction} == prediction


@pytest.mark.anyio
async def test_a_decode_that_outlives_its_request_keeps_its_place(engine: Engine) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def decode() -> DecodedImage:
        has_begun.set()
        may_end.wait()
        return decode_image(PNG)

    request = asyncio.create_task(engine.predict(decode))
    await asyncio.to_thread(has_begun.wait)
    request.cancel()
    await asyncio.wait([request])
    images = engine.admission.images
    may_end.set()
    assert images == 1
    while engine.admission.images:
        await asyncio.sleep(0.001)
