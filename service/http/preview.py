"""`POST /preview`: an image as the service decodes it, for clients that cannot show a DICOM file themselves."""

import io

from litestar import Response, post
from litestar.di import NamedDependency
from PIL import Image

from service.engine.engine import Engine
from service.http.body import TimeoutMs, read_body
from service.http.openapi import PROBLEMS, PreviewOperation
from service.http.predict import decode_body
from service.http.query import only
from service.http.record import Request, record_of
from service.images.decode import DecodedImage


@post(
    "/preview",
    status_code=200,
    media_type="image/png",
    operation_class=PreviewOperation,
    responses=PROBLEMS,
    before_request=only(),
)
async def preview(request: Request, engine: NamedDependency[Engine], x_request_timeout_ms: TimeoutMs = None) -> Response[bytes]:
    """Shows one chest X-ray as the model gets it, before it is stretched to a square: an 8-bit grey PNG."""
    record = record_of(request.scope)
    content_type = record.header(b"content-type")
    async with read_body(record, request.receive, engine, x_request_timeout_ms) as body:
        content = await engine.use(lambda: decode_body(body, content_type), _png)
    return Response(content)


def _png(image: DecodedImage) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image.grey).save(content, "PNG", compress_level=1)
    return content.getvalue()
