"""What clients ask for: a prediction, several, what is known of the model, metrics."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from service.engine.engine import Request, TimeoutMs, Work, in_thread, predicted, received, together
from service.errors import RequestError, Unauthorized
from service.http import multipart, schemas
from service.http.openapi import IMAGE_FIELD, IMAGES_FIELD, PROBLEMS, BatchOperation, PredictOperation, problems
from service.http.schemas import ModelInfo, Prediction, Result, Results
from service.images.decode import DecodedImage, decode_image


@post("/predict", status_code=200, operation_class=PredictOperation, responses=PROBLEMS)
async def predict(
    request: Request, work: NamedDependency[Work], heatmap: FromQuery[bool] = False, x_request_timeout_ms: TimeoutMs = None
) -> Prediction:
    """One chest X-ray in, one calibrated prediction out."""
    content_type = request.headers.get("content-type", "")
    async with received(request, work, x_request_timeout_ms) as body:

        def decode() -> DecodedImage:
            is_form = multipart.is_form(content_type)
            return decode_image(multipart.images(body, content_type, IMAGE_FIELD, 1)[0] if is_form else body)

        return await predicted(request, work, decode, with_heatmap=heatmap)


@post("/predict/batch", status_code=200, operation_class=BatchOperation, responses=PROBLEMS)
async def predict_batch(
    request: Request, work: NamedDependency[Work], heatmap: FromQuery[bool] = False, x_request_timeout_ms: TimeoutMs = None
) -> Results:
    """Several chest X-rays in; each is answered, or refused, by itself."""
    content_type, state = request.headers.get("content-type", ""), request.scope["state"]

    async def answer(image: bytes) -> Result:
        try:
            return Result(prediction=await predicted(request, work, lambda: decode_image(image), with_heatmap=heatmap))
        except RequestError as error:
            return Result(problem=schemas.problem(error, state["request_id"]))

    async with received(request, work, x_request_timeout_ms) as body:
        found = await in_thread(work, lambda: multipart.images(body, content_type, IMAGES_FIELD, work.max_images))
        results = await together(request, map(answer, found))
    state["notes"].update(images=len(results), refused=sum(bool(result.problem) for result in results))
    return Results(results=results, request_id=state["request_id"])


@get("/model-info", sync_to_thread=False, responses=problems(Unauthorized))
def model_info(info: NamedDependency[bytes]) -> Response[ModelInfo]:
    """What is known of the model, and what of it runs."""
    return Response(info, media_type="application/json")  # type: ignore[arg-type]  # encoded once


@get(
    "/metrics",
    media_type="text/plain; version=0.0.4; charset=utf-8",
    sync_to_thread=False,
    responses=problems(Unauthorized),
)
def read_metrics(work: NamedDependency[Work]) -> bytes:
    """For Prometheus."""
    return work.metrics.read()
