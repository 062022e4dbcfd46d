"""`POST /preview`: an image as the service decodes it, for clients that cannot show a DICOM file themselves."""

import io

from litestar import Response, post
from litestar.di import NamedDependency
from PIL import Image

from service.engine.engine import Engine
from service.http.body import TimeoutMs, image_of, read_body
from service.http.openapi import IMAGE_FIELD, PROBLEMS, PreviewOperation
from service.http.query import only
from service.http.record import Request
from service.images.decode import DecodedImage, decode_or_defer


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
    content_type = request.headers.get("content-type", "")
    async with read_body(request, engine, x_request_timeout_ms) as body:
        image = await engine.decode(lambda: decode_or_defer(image_of(body, content_type, IMAGE_FIELD)))
        content = await engine.run_in_decoder(lambda: _png(image))
    return Response(content)


def _png(image: DecodedImage) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image.grey).save(content, "PNG", compress_level=1)
    return content.getvalue()
