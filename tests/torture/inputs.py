"""List A: malformed, unusual and rare requests, each with the one status that must answer it.

python -m tests.torture --only inputs        (`make test` runs the same cases: tests/service/http/test_hostile.py)
"""

import functools
import json
import math
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.conftest import encode, grey
from tests.torture import results
from tests.torture.process import Service, serving
from tests.torture.wire import BOUNDARY, FORM, NO_ANSWER, Answer, chunked, exchange, form, get, part, post, request

MAX_BODY_BYTES = 20_000_000  # the service's default
MAX_IMAGES = 16  # the service's limit for one batch
INFER = "/v2/models/chest-xray-best/infer"
WARM_UPS = 3  # until malloc has settled: the memory that it keeps of threads swings by 40 MB at first
REST_SECONDS = 2.0
RSS_LIMIT_MB = 20.0
SECRET = b"SECRET"  # requests contain it, and answers must not


class Case(NamedTuple):
    """`requests`: for each request all bytes that go onto the socket, or a function that makes them if they are large."""

    name: str
    expected: int
    requests: "list[bytes | Callable[[], bytes]]"


def case(name: str, expected: int, *requests: bytes | Callable[[], bytes]) -> Case:
    return Case(name, expected, list(requests))


@functools.cache
def jpeg() -> bytes:
    return encode(grey(224, 224), "JPEG", quality=90)


@functools.cache
def png() -> bytes:
    return encode(grey(96, 80))


def cases() -> list[Case]:
    groups = bodies(), framing(), damaged_images(), bombs(), other_formats(), good_images(), addresses(), heads()
    return [each for group in (*groups, batches(), open_inference()) for each in group]


def run() -> results.Section:
    begin = time.monotonic()
    with serving() as service:
        everything = cases()
        for case in everything * WARM_UPS:
            check(service, case)
        time.sleep(REST_SECONDS)
        before = service.rss_mb()
        answered = [check(service, case) for case in everything]
        time.sleep(REST_SECONDS)
        growth = service.rss_mb() - before
        errors = service.errors()
    memory = results.Check(
        name=f"memory, all cases once more after {WARM_UPS} times",
        expected=f"at most {RSS_LIMIT_MB:.0f} MB more",
        found=f"{before:.1f} MB before, {growth:+.1f} MB after",
        held=growth <= RSS_LIMIT_MB,
    )
    found = errors[0][:200] if errors else "none"
    log = results.Check(name="the log after all cases", expected="no error", found=found, held=not errors)
    return results.section(time.monotonic() - begin, answered=answered, checks=[memory, log])


def check(service: Service, case: Case) -> results.Answered:
    """Sends the case's requests one after another. The result is that of the first wrong answer, or of the last request."""
    slowest, status, wrong = 0.0, NO_ANSWER, ""
    for make in case.requests:
        content = make if isinstance(make, bytes) else make()
        begin = time.perf_counter()
        try:
            answer = exchange(service.port, content)
            status, wrong = answer.status, fault_of(case.expected, content, answer)
        except TimeoutError:
            status, wrong = NO_ANSWER, "no answer in time"
        slowest = max(slowest, time.perf_counter() - begin)
        if wrong:
            wrong = f"{wrong}, to {content[:200]!r}"
            break
    healthy = service.is_healthy()
    return results.Answered(
        name=case.name,
        expected=[case.expected],
        status=status,
        ms=round(1000 * slowest, 1),
        healthy=healthy,
        wrong=wrong if healthy else f"{wrong} (not healthy afterwards)",
    )


def fault_of(expected: int, content: bytes, answer: Answer) -> str:
    """Says what is wrong with an answer. Empty if nothing is."""
    if answer.status != expected:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if SECRET in answer.body or any(SECRET.decode() in value for value in answer.headers.values()):
        return "it echoes what it was sent"
    if answer.status >= 400:
        return fault_of_problem(content, answer)
    if not content.startswith(b"POST /predict"):
        return ""
    document = json.loads(answer.body)
    items = document.get("results", [{"prediction": document}])
    return "; ".join(filter(None, map(fault_of_item, items)))


def fault_of_problem(content: bytes, answer: Answer) -> str:
    if answer.headers.get("content-type") != "application/problem+json":
        return f"content type {answer.headers.get('content-type')}"
    problem = json.loads(answer.body)
    if problem.get("status") != answer.status or not problem.get("title") or not isinstance(problem.get("detail"), str):
        return f"not a problem: {problem}"
    if content.startswith(b"POST /v2") and problem.get("error") != problem["detail"]:
        return f"no error for clients of the protocol: {problem}"
    return ""


def fault_of_item(item: dict[str, dict[str, Any]]) -> str:  # Any: JSON
    if problem := item.get("problem"):
        return "" if problem["status"] in (415, 422) else f"problem {problem}"
    values = item["prediction"]["probabilities"].values()
    good = len(values) == 2 and all(map(math.isfinite, values)) and abs(sum(values) - 1) < 1e-5
    return "" if good else f"not a prediction: {item['prediction']}"


def bodies() -> list[Case]:
    image, plain = part(jpeg()), "Content-Type: text/plain"
    multipart, header = "multipart/form-data", f"Content-Type: {FORM}"
    urlencoded = "Content-Type: application/x-www-form-urlencoded"
    boundaries = ("", "; boundary=other", '; boundary=""', f"; boundary={'b' * 5_000}")
    names = ("", "../../etc/SECRET", "SECRET\0.png", "SECRET\r\nX-Evil: 1", "SECRET%0D%0Ax", "SECRET\udce9.png")
    unclosed = form(part(jpeg(), filename="SECRET").replace(b'SECRET"', b"SECRET"))
    return [
        case("A1 empty body or file", 415, post(b""), form(part(b"")), form(part(b"", filename=""))),
        case("A2 no or a wrong Content-Type, right bytes", 200, post(jpeg()), post(jpeg(), plain)),
        case("A4 JSON", 415, post(b'{"image": "SECRET"}', "Content-Type: application/json")),
        case("A4 urlencoded", 415, post(b"image=SECRET", urlencoded)),
        case("A6 form with a wrong boundary", 400, *(form(image, content_type=multipart + end) for end in boundaries)),
        case("A7 form without a part", 400, post(b"", header)),
        case("A7 form cut short", 400, post(image[:4_000], header), post(image + f"--{BOUNDARY[:4]}".encode(), header)),
        case("A8 part without a file name", 200, form(part(jpeg(), filename=None))),
        case("A9 a text field alone", 415, form(part(b"SECRET", filename=None))),
        case("A9 another field alone", 400, form(part(b"SECRET", "text", None))),
        case("A11 charset=zzz", 200, form(image, content_type=f"{FORM}; charset=zzz")),
        case("A11 a part's charset=zzz", 200, form(part(jpeg(), "image", "x", f"{plain}; charset=zzz"))),
        case("A11 a field that is not UTF-8", 200, form(part(b"\xff\xfe", "text", None), image)),
        case("A12 two images", 400, form(image, image)),
        case("A13 five parts", 400, form(*(part(b"x", f"text{number}", None) for number in range(4)), image)),
        case("A13 50,000 parts", 400, lambda: form(part(b"", "x", None) * 50_000)),
        case("A14 twelve headers of a part", 400, form(part(jpeg(), "image", "x", *(f"X-{n}: x" for n in range(12))))),
        case("A15 a part's header of 9 KB", 400, form(part(jpeg(), "image", "x", "X-Long: " + "x" * 9_000))),
        case("A16 odd file names", 200, *(form(part(jpeg(), filename=name)) for name in names), unclosed),
        case("A16 file name of 4 KB", 400, form(part(jpeg(), filename="SECRET" * 700))),
    ]


def framing() -> list[Case]:
    lengths = ("-1", "x", "1x", "0x10", "+5", "1.5", "1, 2", "", "\xb2", f"{10**30}", "5\r\nContent-Length: 6")
    codings = ("gzip", "chunked, identity", "chunked\r\nContent-Length: 5")
    chunk_sizes = ("zz", "-1", "", "0x5", "5 5", "f" * 17, "1")
    trailer = b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n"
    return [
        case("A17 Content-Length over the limit", 413, _with_length(f"{MAX_BODY_BYTES + 1}"), _with_length(f"{10**18}")),
        case("A18 chunks over the limit", 413, lambda: chunked(*[bytes(1_000_000)] * 20, b"x")),
        case("A19 a body of exactly the limit", 200, lambda: post(jpeg().ljust(MAX_BODY_BYTES, b"\0"))),
        case("A19 one byte more", 413, lambda: post(jpeg().ljust(MAX_BODY_BYTES + 1, b"\0"))),
        case("A20 wrong Content-Length", 400, *map(_with_length, lengths)),
        case("A21 other Transfer-Encodings", 400, *(_with_header(f"Transfer-Encoding: {c}") + b"0\r\n\r\n" for c in codings)),
        case("A22 wrong chunk sizes", 400, *(chunked(jpeg(), size=size) for size in chunk_sizes)),
        case("A22 chunk extensions", 200, chunked(jpeg(), size="{:x};name=value")),
        case("A22 chunk extension of 1 MB", 431, lambda: chunked(jpeg(), size="{:x};" + "x" * 1_000_000)),
        case("A22 some thousand chunks of one byte", 200, chunked(*(bytes([byte]) for byte in png()))),
        case("A22 a million chunks of one byte", 400, lambda: chunked(*[b"x"] * 1_000_000)),
        case("A22 trailers of 70 KB", 431, chunked(jpeg())[:-2] + trailer),
        case("A23 Content-Encoding: gzip, a bomb", 415, lambda: post(_zeros(), "Content-Encoding: gzip")),
        case("A23 Content-Encoding: br, right bytes", 415, post(jpeg(), "Content-Encoding: br")),
        case("A23 Content-Encoding: identity", 200, post(jpeg(), "Content-Encoding: identity")),
    ]


def damaged_images() -> list[Case]:
    noise = np.random.default_rng(0).bytes(5_000)
    sizes = ((60_000, 60_000), (9_000, 9_000), (2**31 - 1, 1), (0, 0))
    refused = ((1, 1), (1, 300), (3_200, 32), (31, 31), (4_097, 1_024))
    return [
        case("A25 magic bytes alone", 422, post(png()[:8]), post(jpeg()[:3]), post(bytes(128) + b"DICM")),
        case("A26 PNG cut short", 422, *(post(png()[: len(png()) * tenths // 10]) for tenths in range(1, 10))),
        case("A26 JPEG cut short", 422, *(post(jpeg()[: len(jpeg()) * tenths // 10]) for tenths in range(1, 10))),
        case("A27 a flipped bit among the pixels", 422, post(_flipped(png(), png().index(b"IDAT") + len(png()) // 2))),
        case("A27 wrong CRC of pixels whose own checksum is right", 200, post(_flipped(png(), _crc_of(b"IDAT")))),
        case("A27 wrong CRC of the header", 422, post(_flipped(png(), _crc_of(b"IHDR")))),
        case("A27 noise after a header", 422, post(jpeg()[:700] + noise), post(bytes(128) + b"DICM" + noise)),
        case("A28 a PNG header of an impossible size", 422, *(post(_png_header(*size)) for size in sizes)),
        case("A28 a JPEG header of an impossible size", 422, post(_jpeg_header(60_000)), post(_jpeg_header(0))),
        case("A30 too small or too narrow", 422, *(post(encode(Image.new("L", size))) for size in refused)),
        case("A30 32 × 32", 200, post(encode(grey(32, 32)))),
        case("A36 40 megapixels", 200, lambda: post(_40_megapixels())),
    ]


def bombs() -> list[Case]:
    """Large chunks that have nothing to do with the pixels: refused or ignored, never inflated."""
    loop = b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08"
    frames = [Image.fromarray(grey(64, 64, seed)) for seed in range(2)]
    return [
        case("A31 zTXt of 100 MB", 422, lambda: post(_with_chunk(b"zTXt", b"Raw profile type exif\0\0" + _zeros()))),
        case("A31 iTXt of 100 MB", 422, lambda: post(_with_chunk(b"iTXt", b"Comment\0\1\0\0\0" + _zeros()))),
        case("A31 iCCP of 100 MB", 422, lambda: post(_with_chunk(b"iCCP", b"icc\0\0" + _zeros()))),
        case("A31 eXIf of 5 MB", 200, lambda: post(_with_chunk(b"eXIf", b"MM\0*" + bytes(5_000_000)))),
        case("A31 eXIf that points to itself", 200, post(_with_chunk(b"eXIf", loop))),
        case("A31 pixels of 100 MB in 64 × 64", 200, lambda: post(_png_header(64, 64) + _chunk(b"IDAT", _zeros()) + _END)),
        case("A31 20,000 empty chunks", 422, post(_with_chunk(b"tEXt", b"", times=20_001))),
        case("A32 APNG of two frames", 422, post(encode(frames[0], save_all=True, append_images=frames[1:]))),
    ]


def other_formats() -> list[Case]:
    """Files of other formats, all named .png, and files that are two formats at once."""
    formats = ("GIF", "WEBP", "TIFF", "BMP", "EPS", "PDF", "ICO", "TGA", "PPM", "JPEG2000")
    html = b"<html><script>alert('SECRET')</script></html>"
    comment = b"\xff\xfe" + struct.pack(">H", len(html) + 2) + html
    heads = {
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, 64, 64, 8, 1) + bytes(5_000),
        "JPEG 2000 codestream": b"\xff\x4f\xff\x51" + bytes(1_000),
        "HTML and JPEG": html + jpeg(),
    }
    return [
        *(case(f"A33 {name}", 415, form(part(encode(grey(64, 64), name)))) for name in formats),
        *(case(f"A33 {name}", 415, form(part(content))) for name, content in heads.items()),
        case("A34 JPEG and HTML", 200, form(part(jpeg()[:2] + comment + jpeg()[2:] + html))),
        case("A34 PNG and ZIP", 200, form(part(png() + b"PK\3\4SECRET" + bytes(100)))),
    ]


def good_images() -> list[Case]:
    picture = Image.fromarray(grey(120, 100))
    colour = Image.merge("RGB", [Image.fromarray(grey(120, 100, seed)) for seed in range(3)])
    cmyk = encode(colour.convert("CMYK"), "JPEG")
    transform = cmyk.index(b"Adobe") + 11
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    return [
        case("A35 CMYK JPEG", 200, post(cmyk)),
        case("A35 YCCK JPEG", 200, post(cmyk[:transform] + b"\2" + cmyk[transform + 1 :])),
        case("A35 palette with a transparent colour", 200, post(encode(picture.quantize(16), transparency=3))),
        *(
            case(f"A35 PNG of mode {mode}", 200, post(encode(picture.convert(mode))))
            for mode in ("1", "I;16", "LA", "RGBA", "P")
        ),
        case("A35 interlaced PNG", 200, post(_interlaced(grey(120, 100)))),
        case("A35 progressive JPEG", 200, post(encode(picture, "JPEG", progressive=True))),
        case("A35 turned by EXIF", 200, post(encode(picture, "JPEG", exif=exif))),
        case("A36 all black or white", 200, *(post(encode(Image.new("L", (100, 100), level))) for level in (0, 255))),
        case("A36 noise", 200, post(encode(noise))),
        case("A36 colour", 200, post(encode(colour, "JPEG"))),
    ]


def addresses() -> list[Case]:
    nowhere = ("/SECRET", "/predict/SECRET", "/%00", "/../../etc/passwd")
    websocket = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    return [
        case("A37 GET an unknown address", 404, *map(get, nowhere), request("OPTIONS", "*")),
        case("A37 GET another spelling of an address", 200, *map(get, ("//", "/health/", "http://localhost/health"))),
        case("A37 GET /predict%2f", 405, get("/predict%2f")),
        case("A37 GET /\\xff", 400, get("/\xff")),
        case("A37 another method", 405, *(request(name, "/predict") for name in ("GET", "PUT", "DELETE", "PATCH", "TRACE"))),
        case("A37 HEAD /health", 200, request("HEAD", "/health")),
        case("A37 OPTIONS /predict", 204, request("OPTIONS", "/predict")),
        case("A37 POST /health", 405, post(b"", path="/health")),
        case("A37 an unknown method", 400, request("CONNECT", "localhost:80"), request("BREW", "/predict")),
        case("A37 a wrong query", 400, *(post(jpeg(), path=f"/predict?heatmap={value}") for value in ("perhaps", "%ff&x=%"))),
        case("A37 the preface of HTTP/2", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        case("A37 HTTP/9.9", 400, b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n"),
        case("A37 HTTP/0.9", 200, b"GET /health\r\n\r\n"),
        case("A37 TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + np.random.default_rng(0).bytes(508)),
        case("A37 a WebSocket", 200, get("/health", *websocket)),
    ]


def heads() -> list[Case]:
    bad = ("X-Odd: a\0b", "X-Odd", ": x", "X-Odd: a\r\n b")
    odd = ("X-Odd: " + "".join(map(chr, range(128, 256))), "X-Long: " + "x" * 30_000)
    ids = ("a b", "x" * 65, "\xe9", "SECRET!")
    timeouts = ("0", "-5", "x", "1.5", "", " ", "0x10", "\xb2", "nan", "5, 5", "9" * 5_000)
    digits = "X-Request-Timeout-Ms: " + "9" * 400
    return [
        case("A38 a header of 33 KB", 431, get("/health", "X-Long: " + "x" * 33_000), get("/health", "x" * 65_536 + ": x")),
        case("A38 an address of 64 KB", 431, get("/health?" + "x" * 65_536)),
        case("A38 101 headers", 431, get("/health", *(f"X-{number}: x" for number in range(100)))),
        case("A38 a malformed header", 400, *(get("/health", header) for header in bad)),
        case("A38 an odd or long header", 200, *(get("/health", header) for header in odd)),
        case("A39 no Host, or two", 200, b"GET /health HTTP/1.1\r\n\r\n", get("/health", "Host: other")),
        case("A39 Host that is none", 400, b"GET /health HTTP/1.1\r\nHost: <SECRET>\x7f\r\n\r\n"),
        case("A40 odd X-Request-ID", 200, *(get("/health", f"X-Request-ID: {value}") for value in ids)),
        case("A40 Expect", 200, post(jpeg(), "Expect: 100-continue"), post(jpeg(), "Expect: something")),
        case("A40 traceparent that is none", 200, post(jpeg(), "traceparent: SECRET")),
        case("A40 X-Request-Timeout-Ms of 400 digits", 200, post(jpeg(), digits)),
        case("A40 wrong timeout", 400, *(post(jpeg(), f"X-Request-Timeout-Ms: {value}") for value in timeouts)),
        case("A40 40 megapixels in 20 ms", 504, lambda: post(_40_megapixels(), "X-Request-Timeout-Ms: 20")),
    ]


def batches() -> list[Case]:
    batch = functools.partial(form, path="/predict/batch")
    mixed = [part(image, "images") for image in (png(), b"", b"x", png()[:99], jpeg())]
    return [
        case("batch of 16", 200, batch(part(png(), "images") * MAX_IMAGES)),
        case("batch of 17", 400, batch(part(png(), "images") * (MAX_IMAGES + 1))),
        case("batch without images", 400, batch(), batch(part(png(), "image")), post(png(), path="/predict/batch")),
        case("batch of good and bad images", 200, batch(*mixed)),
        case("batch of bad images alone", 200, batch(*mixed[1:3])),
    ]


def open_inference() -> list[Case]:
    image = _element(jpeg())
    lists = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,1000,1000],"data":[' + b"[]," * 999_999 + b"[]]}]}"
    pixels = functools.partial(infer, datatype="UINT8")
    version = INFER.replace("/infer", "/versions/SECRET/infer")
    return [
        case("V2 an image as bytes", 200, infer(image)),
        case("V2 grey pixels", 200, pixels(grey(40, 50).tobytes(), shape=[1, 50, 40])),
        case("V2 no JSON", 400, post(b"", path=INFER), post(jpeg(), path=INFER)),
        case("V2 100,000 nested lists", 400, post(b'{"inputs":' + b"[" * 100_000, path=INFER)),
        case("V2 a wrong length of the JSON", 400, *(infer(image, length=n) for n in ("-1", "x", "1000000", "9" * 400))),
        case("V2 a tensor of 2^62 bytes", 400, infer(b"x", size=2**62)),
        case("V2 an image of 4 GB", 400, infer(b"\xff\xff\xff\xff")),
        case("V2 a wrong number of images", 400, *(infer(image, shape=[count]) for count in (2**62, -1, math.nan))),
        case("V2 17 images", 400, infer(_element(png()) * (MAX_IMAGES + 1), shape=[MAX_IMAGES + 1])),
        case("V2 too many pixels", 422, pixels(b"x", shape=[1, 8192, 8192]), pixels(b"x", shape=[1, 2**62, 2**62])),
        case("V2 FP32", 400, infer(image, datatype="FP32")),
        case("V2 a million empty lists for levels", 400, post(lists, path=INFER)),
        case("V2 an unknown format", 415, infer(_element(b"SECRET"))),
        case("V2 an image cut short", 422, infer(_element(jpeg()[: len(jpeg()) // 2]))),
        case("V2 another model or version", 404, *(post(image, path=path) for path in ("/v2/models/SECRET/infer", version))),
    ]


def infer(content: bytes, *, length: str = "", size: int | None = None, **changes: object) -> bytes:
    """`content`: the tensor, behind the JSON. `size` and `length` replace the true size of the tensor and of the JSON."""
    parameters = {"binary_data_size": len(content) if size is None else size}
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": parameters} | changes
    header = json.dumps({"inputs": [tensor]}).encode()
    return post(header + content, f"Inference-Header-Content-Length: {length or len(header)}", path=INFER)


def _element(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def _with_header(header: str) -> bytes:
    return request("POST", "/predict", header, length=False)


def _with_length(value: str) -> bytes:
    return _with_header(f"Content-Length: {value}")


@functools.cache
def _zeros() -> bytes:
    """100 MB of zeros, compressed to a thousandth."""
    return zlib.compress(bytes(100_000_000), 9)


@functools.cache
def _40_megapixels() -> bytes:
    return encode(Image.new("L", (8_000, 5_000), 90))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


_END = _chunk(b"IEND", b"")


def _png_header(width: int, height: int, interlace: int = 0) -> bytes:
    return png()[:8] + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))


def _with_chunk(kind: bytes, content: bytes, times: int = 1) -> bytes:
    """A PNG with a chunk, once or several times, behind its magic bytes and IHDR."""
    head = 8 + 25
    return png()[:head] + _chunk(kind, content) * times + png()[head:]


def _crc_of(kind: bytes) -> int:
    start = png().index(kind)
    return start + 4 + int.from_bytes(png()[start - 4 : start])


def _flipped(image: bytes, place: int) -> bytes:
    return image[:place] + bytes([image[place] ^ 1]) + image[place + 1 :]


def _jpeg_header(size: int) -> bytes:
    place = jpeg().index(b"\xff\xc0") + 5
    return jpeg()[:place] + struct.pack(">HH", size, size) + jpeg()[place + 4 :]


def _interlaced(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Adam7: seven coarser pictures, one after another. Pillow reads it but does not write it."""
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    lines = (row for y, x, down, right in steps for row in pixels[y::down, x::right])
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in lines))
    return _png_header(pixels.shape[1], pixels.shape[0], interlace=1) + _chunk(b"IDAT", content) + _END
