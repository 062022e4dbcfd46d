"""List A: everything a client can send that is wrong, odd or rare, and the statuses that may answer it.

python -m tests.torture --only inputs        (also, case by case, in tests/service/test_hostile.py)
"""

import functools
import itertools
import json
import math
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.conftest import encode, grey
from tests.torture import results
from tests.torture.process import Service, serving
from tests.torture.wire import FORM, NO_ANSWER, Answer, chunked, exchange, form, get, part, post, request

MAX_BODY_BYTES = 20_000_000  # the service's default
MAX_IMAGES = 16  # likewise
INFER = "/v2/models/chest-xray-best/infer"
WARM_UPS = 3  # until malloc has settled: what it keeps of threads' freed memory swings by 40 MB at first, up and down
REST_SECONDS = 2.0
RSS_LIMIT_MB = 20.0
SECRET = b"SECRET"  # stands in what is sent and must not come back

OK, BAD, REFUSED = {200}, {400}, {422}


class Case(NamedTuple):
    """`content`: makes all that goes onto the socket."""

    name: str
    expected: set[int]
    content: Callable[[], bytes]


@functools.cache
def jpeg() -> bytes:
    return encode(grey(224, 224), "JPEG", quality=90)


@functools.cache
def png() -> bytes:
    return encode(grey(96, 80))


def cases() -> list[Case]:
    groups = (bodies(), forms(), file_names(), framing(), damaged_images(), odd_sizes(), bombs(), other_formats(), polyglots())
    return list(itertools.chain(*groups, good_images(), addresses(), heads(), deadlines(), batches(), open_inference()))


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
    log = results.Check(
        name="the log after all cases", expected="no error", found=errors[0][:200] if errors else "none", held=not errors
    )
    return results.section(time.monotonic() - begin, answered=answered, checks=[memory, log])


def check(service: Service, case: Case) -> results.Answered:
    content = case.content()
    begin = time.perf_counter()
    try:
        answer = exchange(service.port, content)
        wrong = verdict(case, content, answer)
    except TimeoutError:
        answer, wrong = Answer(NO_ANSWER, {}, b""), "no answer in time"
    milliseconds = 1000 * (time.perf_counter() - begin)
    healthy = service.is_healthy()
    return results.Answered(
        name=case.name,
        expected=sorted(case.expected),
        status=answer.status,
        ms=round(milliseconds, 1),
        healthy=healthy,
        wrong=wrong if healthy else "; ".join(filter(None, (wrong, "not healthy afterwards"))),
    )


def verdict(case: Case, content: bytes, answer: Answer) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if answer.status not in case.expected:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if SECRET in answer.body or any(SECRET.decode() in value for value in answer.headers.values()):
        return "it echoes what it was sent"
    if content.startswith(b"HEAD "):
        return ""
    if answer.status >= 400:
        return problem_verdict(content, answer)
    if content.startswith(b"POST /predict/batch"):
        return "; ".join(filter(None, map(batch_item_verdict, json.loads(answer.body)["results"])))
    return prediction_verdict(json.loads(answer.body)) if content.startswith(b"POST /predict") else ""


def problem_verdict(content: bytes, answer: Answer) -> str:
    if answer.headers.get("content-type") != "application/problem+json":
        return f"content type {answer.headers.get('content-type')}"
    problem = json.loads(answer.body)
    if problem.get("status") != answer.status or not problem.get("title") or not isinstance(problem.get("detail"), str):
        return f"not a problem: {problem}"
    if content.startswith(b"POST /v2") and problem.get("error") != problem["detail"]:
        return f"no error for clients of the protocol: {problem}"
    if answer.status == 429 and not answer.headers.get("retry-after", "").isdigit():
        return "429 without Retry-After"
    return ""


def batch_item_verdict(item: dict[str, dict[str, object]]) -> str:
    if problem := item.get("problem"):
        return "" if problem["status"] in (415, 422) else f"problem {problem}"
    return prediction_verdict(item["prediction"])


def prediction_verdict(prediction: dict[str, object]) -> str:
    values = prediction.get("probabilities")
    if not isinstance(values, dict) or len(values) != 2 or not all(map(math.isfinite, values.values())):
        return f"not a finite prediction: {prediction}"
    return "" if abs(sum(values.values()) - 1) < 1e-5 else f"probabilities {values}"


# Bodies and forms


def bodies() -> Iterator[Case]:
    yield Case("A1 empty body", {400, 415}, lambda: post(b""))
    yield Case("A2 no Content-Type", OK, lambda: post(jpeg()))
    yield Case("A3 wrong Content-Type, right bytes", OK, lambda: post(jpeg(), "Content-Type: text/plain"))
    yield Case("A4 JSON", {415}, lambda: post(b'{"image": "SECRET"}', "Content-Type: application/json"))
    urlencoded = "Content-Type: application/x-www-form-urlencoded"
    yield Case("A4 urlencoded", {415}, lambda: post(b"image=SECRET", urlencoded))
    yield Case("A5 form without a boundary", BAD, lambda: form(part(jpeg()), content_type="multipart/form-data"))
    other = "multipart/form-data; boundary=other"
    yield Case("A6 form with another boundary", BAD, lambda: form(part(jpeg()), content_type=other))
    empty = 'multipart/form-data; boundary=""'
    yield Case("A6 form with an empty boundary", BAD, lambda: form(part(jpeg()), content_type=empty))
    long = "multipart/form-data; boundary=" + "b" * 5_000
    yield Case("A6 form with a boundary of 5 KB", BAD, lambda: form(part(jpeg()), content_type=long))
    for tenths in (0, 1, 5, 9):
        yield Case(
            f"A7 form cut at {10 * tenths} %",
            BAD,
            partial(lambda tenths: post(_cut(part(jpeg()), tenths), f"Content-Type: {FORM}"), tenths),
        )
    yield Case("A7 form cut in its last boundary", BAD, lambda: post(part(jpeg()) + b"--tort", f"Content-Type: {FORM}"))


def forms() -> Iterator[Case]:
    yield Case("A8 part without a file name", OK, lambda: form(part(jpeg(), filename=None)))
    yield Case("A9 a text field alone", {415}, lambda: form(part(b"SECRET", filename=None)))
    yield Case("A9 another field alone", BAD, lambda: form(part(b"SECRET", "text", None)))
    yield Case("A10 empty file name", OK, lambda: form(part(jpeg(), filename="")))
    yield Case("A10 empty file name, no content", {400, 415}, lambda: form(part(b"", filename="")))
    yield Case("A11 charset=zzz", OK, lambda: form(part(jpeg()), content_type=f"{FORM}; charset=zzz"))
    yield Case(
        "A11 a part's charset=zzz", OK, lambda: form(part(jpeg(), "image", "x", "Content-Type: text/plain; charset=zzz"))
    )
    yield Case("A11 a field of bytes that are no UTF-8", OK, lambda: form(part(b"\xff\xfe", "text", None), part(jpeg())))
    yield Case("A12 two images", BAD, lambda: form(part(jpeg()), part(jpeg())))
    yield Case("A13 five parts", BAD, lambda: form(*(part(b"x", f"text{number}", None) for number in range(4)), part(jpeg())))
    yield Case("A13 50,000 parts", {400, 413}, lambda: form(part(b"", "x", None) * 50_000))
    yield Case("A14 twelve headers of a part", BAD, lambda: form(part(jpeg(), "image", "x", *(f"X-{n}: x" for n in range(12)))))
    yield Case("A15 a part's header of 9 KB", BAD, lambda: form(part(jpeg(), "image", "x", "X-Long: " + "x" * 9_000)))
    yield Case("A24 a file of no bytes", {415, 422}, lambda: form(part(b"")))


def file_names() -> Iterator[Case]:
    yield Case("A16 file name ../../etc/passwd", OK, lambda: form(part(jpeg(), filename="../../etc/SECRET")))
    yield Case("A16 file name with NUL", {200, 400}, lambda: form(part(jpeg(), filename="SECRET\0.png")))
    yield Case("A16 file name with CRLF", {200, 400}, lambda: form(part(jpeg(), filename="SECRET\r\nX-Evil: 1")))
    yield Case("A16 file name with an escaped CRLF", OK, lambda: form(part(jpeg(), filename="SECRET%0D%0Ax")))
    yield Case("A16 file name of 4 KB", {200, 400}, lambda: form(part(jpeg(), filename="SECRET" * 700)))
    yield Case("A16 file name that is no UTF-8", OK, lambda: form(part(jpeg(), filename="SECRET\udce9.png")))
    yield Case(
        "A16 file name without an end",
        {200, 400},
        lambda: form(part(jpeg(), 'image"; filename="SECRET', None).replace(b'"\r', b"\r")),
    )


# Framing


def framing() -> Iterator[Case]:
    yield Case("A17 Content-Length over the limit", {413}, lambda: _length(str(MAX_BODY_BYTES + 1)))
    yield Case("A17 Content-Length of 10^18", {413}, lambda: _length(str(10**18)))
    yield Case("A17 Content-Length of 10^30", {400, 413}, lambda: _length(str(10**30)))
    yield Case("A18 chunks over the limit", {413}, lambda: chunked(*[bytes(1_000_000)] * 20, b"x"))
    yield Case("A19 a body of just the limit", OK, lambda: post(jpeg().ljust(MAX_BODY_BYTES, b"\0")))
    yield Case("A19 a byte more", {413}, lambda: post(jpeg().ljust(MAX_BODY_BYTES + 1, b"\0")))
    for length in ("-1", "x", "1x", "0x10", "+5", "1.5", "1, 2", "", "\xb2"):
        yield Case(f"A20 Content-Length {length!a}", BAD, partial(lambda length: _length(length), length))
    yield Case("A20 two different Content-Lengths", BAD, lambda: _length("5\r\nContent-Length: 6"))
    yield Case(
        "A21 Content-Length and Transfer-Encoding", BAD, lambda: _length("5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n")
    )
    yield Case("A21 Transfer-Encoding: chunked, identity", {400, 415, 501}, lambda: _coded("chunked, identity"))
    yield Case("A21 Transfer-Encoding: gzip", {400, 415}, lambda: _coded("gzip"))
    for size in ("zz", "-1", "", "0x5", "f" * 17, "5 5"):
        yield Case(f"A22 chunk size {size!r}", {400, 413}, partial(lambda size: chunked(jpeg(), size=size), size))
    yield Case("A22 chunk longer than it says", BAD, lambda: chunked(b"x" * 64, size="1"))
    yield Case("A22 chunk extensions", OK, lambda: chunked(jpeg(), size="{:x};name=value"))
    yield Case("A22 chunk extension of 1 MB", {200, 400, 413, 431}, lambda: chunked(jpeg(), size="{:x};" + "x" * 1_000_000))
    yield Case("A22 some thousand chunks of one byte", OK, lambda: chunked(*(bytes([byte]) for byte in png())))
    yield Case("A22 a million chunks of one byte", BAD, lambda: chunked(*[b"x"] * 1_000_000))
    yield Case(
        "A22 trailers of 70 KB", {200, 400, 431}, lambda: chunked(jpeg())[:-2] + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n"
    )
    yield Case("A23 Content-Encoding: gzip, a bomb", {415}, lambda: post(_zeros(100_000_000), "Content-Encoding: gzip"))
    yield Case("A23 Content-Encoding: br, right bytes", {415}, lambda: post(jpeg(), "Content-Encoding: br"))
    yield Case("A23 Content-Encoding: identity", OK, lambda: post(jpeg(), "Content-Encoding: identity"))


# Images


def damaged_images() -> Iterator[Case]:
    for name, magic in (("PNG", b"\x89PNG\r\n\x1a\n"), ("JPEG", b"\xff\xd8\xff")):
        yield Case(f"A25 the magic of {name} alone", {415, 422}, partial(lambda magic: post(magic), magic))
    for name, image in (("PNG", png), ("JPEG", jpeg)):
        for tenths in range(1, 10):
            yield Case(
                f"A26 {name} cut at {10 * tenths} %",
                REFUSED,
                partial(lambda image, tenths: post(_cut(image(), tenths)), image, tenths),
            )
    yield Case("A27 a flipped bit among the pixels", REFUSED, lambda: post(_with_flipped_pixel(png())))
    yield Case("A27 wrong CRC of pixels whose own checksum is right", {200, 422}, lambda: post(_with_wrong_crc(png(), b"IDAT")))
    yield Case("A27 wrong CRC of the header", REFUSED, lambda: post(_with_wrong_crc(png(), b"IHDR")))
    yield Case("A27 a JPEG of noise after its header", {200, 422}, lambda: post(jpeg()[:700] + _noise_bytes(5_000)))


def odd_sizes() -> Iterator[Case]:
    for name, width, height in (("A28", 60_000, 60_000), ("A29", 10_000, 10_000), ("A29", 9_000, 9_000), ("A28", 2**31 - 1, 1)):
        yield Case(
            f"{name} a PNG header of {width} × {height}", REFUSED, partial(lambda w, h: post(_png_header(w, h)), width, height)
        )
    yield Case("A28 a JPEG header of 60000 × 60000", REFUSED, lambda: post(_jpeg_of_size(60_000, 60_000)))
    yield Case("A30 a PNG header of 0 × 0", REFUSED, lambda: post(_png_header(0, 0)))
    yield Case("A30 a JPEG header of 0 × 0", REFUSED, lambda: post(_jpeg_of_size(0, 0)))
    for width, height in ((1, 1), (1, 300), (300, 1), (3_200, 32), (31, 31), (4_097, 1_024)):
        yield Case(
            f"A30 {width} × {height}", REFUSED, partial(lambda w, h: post(encode(Image.new("L", (w, h)))), width, height)
        )
    yield Case("A30 32 × 32", OK, lambda: post(encode(grey(32, 32))))


def bombs() -> Iterator[Case]:
    """In chunks that have nothing to do with the pixels: refused or left aside, never inflated."""
    for chunk, head in (
        ("zTXt", b"Comment\0\0"),
        ("iTXt", b"Comment\0\1\0\0\0"),
        ("iCCP", b"icc\0\0"),
        ("zTXt", b"Raw profile type exif\0\0"),
    ):
        name = f"A31 {chunk} of 100 MB ({head.partition(bytes(1))[0].decode()})"
        yield Case(
            name, {200, 422}, partial(lambda c, h: post(_with_chunk(png(), c.encode(), h + _zeros(100_000_000))), chunk, head)
        )
    yield Case("A31 eXIf of 5 MB", {200, 422}, lambda: post(_with_chunk(png(), b"eXIf", b"MM\0*" + bytes(5_000_000))))
    yield Case(
        "A31 eXIf that points to itself",
        OK,
        lambda: post(_with_chunk(png(), b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08")),
    )
    yield Case(
        "A31 pixels of 100 MB for an image of 64 × 64",
        {200, 422},
        lambda: post(_png_header(64, 64) + _chunk(b"IDAT", _zeros(100_000_000)) + _END),
    )
    yield Case("A31 20,000 empty chunks", {200, 422}, lambda: post(_with_chunk(png(), b"tEXt", b"", times=20_001)))
    yield Case("A32 APNG of two frames", REFUSED, lambda: post(_animated()))


def other_formats() -> Iterator[Case]:
    """Named .png all of them."""
    for file_format in ("GIF", "WEBP", "TIFF", "BMP", "EPS", "PDF", "ICO", "TGA", "PPM", "JPEG2000"):
        yield Case(
            f"A33 {file_format}", {415}, partial(lambda file_format: form(part(encode(grey(64, 64), file_format))), file_format)
        )
    yield Case("A33 SVG", {415}, lambda: form(part(b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>')))
    yield Case("A33 FITS", {415}, lambda: form(part(b"SIMPLE  =                    T".ljust(2880))))
    yield Case(
        "A33 PSD", {415}, lambda: form(part(b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, 64, 64, 8, 1) + bytes(5_000)))
    )
    yield Case("A33 MPO as JPEG2000 codestream", {415}, lambda: form(part(b"\xff\x4f\xff\x51" + bytes(1_000))))
    yield Case("A33 noise after the magic of DICOM", {415, 422}, lambda: form(part(bytes(128) + b"DICM" + _noise_bytes(5_000))))
    yield Case("A33 the magic of DICOM alone", {415, 422}, lambda: form(part(bytes(128) + b"DICM")))


def polyglots() -> Iterator[Case]:
    html = b"<html><script>alert('SECRET')</script></html>"
    yield Case("A34 JPEG and HTML", OK, lambda: form(part(jpeg()[:2] + _segment(0xFE, html) + jpeg()[2:] + html)))
    yield Case("A34 PNG and ZIP", OK, lambda: form(part(png() + b"PK\3\4SECRET" + bytes(100))))
    yield Case("A34 HTML and JPEG", {415}, lambda: form(part(html + jpeg())))


def good_images() -> Iterator[Case]:
    picture = Image.fromarray(grey(120, 100))
    colour = Image.merge("RGB", [Image.fromarray(grey(120, 100, seed)) for seed in range(3)])
    yield Case("A35 CMYK JPEG", OK, lambda: post(encode(picture.convert("CMYK"), "JPEG")))
    yield Case("A35 YCCK JPEG", OK, lambda: post(_ycck(colour)))
    yield Case("A35 palette with a transparent colour", OK, lambda: post(encode(picture.quantize(16), transparency=3)))
    for mode in ("1", "I;16", "LA", "RGBA", "RGB", "P"):
        yield Case(f"A35 PNG of mode {mode}", OK, partial(lambda mode: post(encode(picture.convert(mode))), mode))
    yield Case("A35 interlaced PNG", OK, lambda: post(_interlaced(grey(120, 100))))
    yield Case("A35 progressive JPEG", OK, lambda: post(encode(picture, "JPEG", progressive=True)))
    exif = Image.Exif()
    exif[0x0112] = 6
    yield Case("A35 turned by EXIF", OK, lambda: post(encode(picture, "JPEG", exif=exif)))
    for name, level in (("black", 0), ("white", 255)):
        yield Case(f"A36 all {name}", OK, partial(lambda level: post(encode(Image.new("L", (100, 100), level))), level))
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    yield Case("A36 noise", OK, lambda: post(encode(noise)))
    yield Case("A36 colour", OK, lambda: post(encode(colour, "JPEG")))
    yield Case("A36 40 megapixels", {200, 504}, lambda: post(encode(Image.new("L", (8_000, 5_000), 90))))


# Addresses and heads


def addresses() -> Iterator[Case]:
    for path in ("/SECRET", "/predict/SECRET", "/%00", "//", "/../../etc/passwd", "/predict%2f", "/\xff", "/health/"):
        yield Case(f"A37 GET {path!a}", {200, 400, 404, 405}, partial(lambda path: get(path), path))
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE"):
        yield Case(f"A37 {method} /predict", {405}, partial(lambda method: request(method, "/predict"), method))
    yield Case("A37 HEAD /health", {200, 405}, lambda: request("HEAD", "/health"))
    yield Case("A37 OPTIONS /predict", {200, 204, 405}, lambda: request("OPTIONS", "/predict"))
    yield Case("A37 OPTIONS *", {200, 204, 400, 404, 405}, lambda: request("OPTIONS", "*"))
    yield Case("A37 POST /health", {405}, lambda: post(b"", path="/health"))
    yield Case("A37 CONNECT", {400, 404, 405}, lambda: request("CONNECT", "localhost:80"))
    yield Case("A37 a method that is none", {400, 405}, lambda: request("BREW", "/predict"))
    yield Case("A37 an absolute address", {200, 400, 404}, lambda: get("http://localhost/health"))
    yield Case("A37 ?heatmap=perhaps", BAD, lambda: post(jpeg(), path="/predict?heatmap=perhaps"))
    yield Case("A37 a query of bytes that are no UTF-8", {200, 400}, lambda: post(jpeg(), path="/predict?heatmap=%ff&x=%"))
    yield Case("A37 HTTP/2's preface", {400, 405, 505}, lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield Case("A37 HTTP/9.9", {400, 505}, lambda: b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n")
    yield Case("A37 HTTP/0.9", {200, 400}, lambda: b"GET /health\r\n\r\n")
    yield Case("A37 TLS", BAD, lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _noise_bytes(508))
    yield Case(
        "A37 a WebSocket",
        {200, 400, 426},
        lambda: get(
            "/health", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"
        ),
    )


def heads() -> Iterator[Case]:
    yield Case("A38 a header of 70 KB", {431}, lambda: get("/health", "X-Long: " + "x" * 70_000))
    yield Case("A38 a header of 33 KB", {431}, lambda: get("/health", "X-Long: " + "x" * 33_000))
    yield Case("A38 a header of 30 KB", OK, lambda: get("/health", "X-Long: " + "x" * 30_000))
    yield Case("A38 3,000 headers", {431}, lambda: get("/health", *(f"X-{number}: x" for number in range(3_000))))
    yield Case("A38 101 headers", {431}, lambda: get("/health", *(f"X-{number}: x" for number in range(100))))
    yield Case("A38 an address of 64 KB", {414, 431}, lambda: get("/health?" + "x" * 65_536))
    yield Case("A38 a header's name of 64 KB", {431}, lambda: get("/health", "x" * 65_536 + ": x"))
    yield Case("A38 a header with NUL", BAD, lambda: get("/health", "X-Odd: a\0b"))
    yield Case("A38 a header without a colon", BAD, lambda: get("/health", "X-Odd"))
    yield Case("A38 a header without a name", BAD, lambda: get("/health", ": x"))
    yield Case("A38 a folded header", {200, 400}, lambda: get("/health", "X-Odd: a\r\n b"))
    yield Case(
        "A38 a header of every byte above 127",
        {200, 400},
        lambda: get("/health", "X-Odd: " + "".join(map(chr, range(128, 256)))),
    )
    yield Case("A39 no Host", {200, 400}, lambda: b"GET /health HTTP/1.1\r\n\r\n")
    yield Case("A39 Host that is none", {200, 400}, lambda: b"GET /health HTTP/1.1\r\nHost: <SECRET>\x7f\r\n\r\n")
    yield Case("A39 two Hosts", {200, 400}, lambda: get("/health", "Host: other"))
    yield Case("A39 Host localhost:8000", OK, lambda: b"GET /health HTTP/1.1\r\nHost: localhost:8000\r\n\r\n")
    for value in ("a b", "x" * 65, "\xe9", "SECRET!"):
        yield Case(
            f"X-Request-ID {ascii(value)[:20]}", OK, partial(lambda value: get("/health", f"X-Request-ID: {value}"), value)
        )
    yield Case("Expect: 100-continue", OK, lambda: post(jpeg(), "Expect: 100-continue"))
    yield Case("Expect: something", {200, 400, 417}, lambda: post(jpeg(), "Expect: something"))
    yield Case("traceparent that is none", OK, lambda: post(jpeg(), "traceparent: SECRET"))


def deadlines() -> Iterator[Case]:
    for value in ("0", "-5", "x", "1.5", "", " ", "0x10", "\xb2", "nan", "5, 5"):
        yield Case(
            f"X-Request-Timeout-Ms {value!a}", BAD, partial(lambda value: post(jpeg(), f"X-Request-Timeout-Ms: {value}"), value)
        )
    yield Case("X-Request-Timeout-Ms 1", {408, 429, 504}, lambda: post(_noise_jpeg(), "X-Request-Timeout-Ms: 1"))
    yield Case("X-Request-Timeout-Ms of 400 digits", {200, 400}, lambda: post(jpeg(), "X-Request-Timeout-Ms: " + "9" * 400))
    yield Case("X-Request-Timeout-Ms of 5,000 digits", {200, 400}, lambda: post(jpeg(), "X-Request-Timeout-Ms: " + "9" * 5_000))


def batches() -> Iterator[Case]:
    batch = partial(form, path="/predict/batch")
    yield Case("batch of 16", OK, lambda: batch(part(png(), "images") * MAX_IMAGES))
    yield Case("batch of 17", {400, 413, 422}, lambda: batch(part(png(), "images") * (MAX_IMAGES + 1)))
    yield Case("batch of none", BAD, lambda: batch())
    yield Case("batch of another field", BAD, lambda: batch(part(png(), "image")))
    yield Case("batch without a form", {400, 415}, lambda: post(png(), path="/predict/batch"))
    yield Case(
        "batch of good and bad", OK, lambda: batch(*(part(image, "images") for image in (png(), b"", b"x", png()[:99], jpeg())))
    )
    yield Case("batch of bad ones alone", OK, lambda: batch(*(part(image, "images") for image in (b"", b"x"))))


def open_inference() -> Iterator[Case]:
    yield Case("V2 an image as bytes", OK, lambda: infer(_element(jpeg())))
    yield Case("V2 grey pixels", OK, lambda: infer(grey(40, 50).tobytes(), datatype="UINT8", shape=[1, 50, 40]))
    yield Case("V2 no body", BAD, lambda: post(b"", path=INFER))
    yield Case("V2 an image alone", BAD, lambda: post(jpeg(), path=INFER))
    yield Case("V2 100,000 lists in each other", BAD, lambda: post(b'{"inputs":' + b"[" * 100_000, path=INFER))
    for length in ("-1", "x", str(10**6), "9" * 400):
        yield Case(
            f"V2 a JSON of {length[:9]} bytes", BAD, partial(lambda length: infer(_element(jpeg()), length=length), length)
        )
    yield Case("V2 a tensor of 2^62 bytes", BAD, lambda: infer(b"x", size=2**62))
    yield Case("V2 an image of 4 GB", BAD, lambda: infer(b"\xff\xff\xff\xff"))
    yield Case("V2 2^62 images", BAD, lambda: infer(_element(jpeg()), shape=[2**62]))
    yield Case("V2 -1 images", BAD, lambda: infer(_element(jpeg()), shape=[-1]))
    yield Case("V2 NaN images", BAD, lambda: infer(_element(jpeg()), shape=[math.nan]))
    yield Case("V2 17 images", BAD, lambda: infer(_element(png()) * 17, shape=[MAX_IMAGES + 1]))
    yield Case(
        "V2 8,192 × 8,192 pixels, of which one comes", REFUSED, lambda: infer(b"x", datatype="UINT8", shape=[1, 8192, 8192])
    )
    yield Case("V2 pixels of 2^62 × 2^62", REFUSED, lambda: infer(b"x", datatype="UINT8", shape=[1, 2**62, 2**62]))
    yield Case("V2 FP32", BAD, lambda: infer(_element(jpeg()), datatype="FP32"))
    lists = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,1000,1000],"data":[' + b"[]," * 999_999 + b"[]]}]}"
    yield Case("V2 a million empty lists for levels", BAD, lambda: post(lists, path=INFER))
    yield Case("V2 an image that is none", {415}, lambda: infer(_element(b"SECRET")))
    yield Case("V2 an image cut short", REFUSED, lambda: infer(_element(_cut(jpeg(), 5))))
    yield Case("V2 another model", {404}, lambda: post(_element(jpeg()), path="/v2/models/SECRET/infer"))
    yield Case(
        "V2 another version", {404}, lambda: post(_element(jpeg()), path=INFER.replace("/infer", "/versions/SECRET/infer"))
    )


# How some of it is made


def infer(content: bytes, *, length: str = "", size: int | None = None, **changes: object) -> bytes:
    """`content`: of the tensor, behind the JSON. `size`, `length`: of it, and of the JSON, where they are not the true ones."""
    parameters = {"binary_data_size": len(content) if size is None else size}
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": parameters} | changes
    header = json.dumps({"inputs": [tensor]}).encode()
    return post(header + content, f"Inference-Header-Content-Length: {length or len(header)}", path=INFER)


def _element(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def _length(value: str, body: bytes = b"") -> bytes:
    return request("POST", "/predict", f"Content-Length: {value}", length=False) + body


def _coded(coding: str) -> bytes:
    return request("POST", "/predict", f"Transfer-Encoding: {coding}", length=False) + b"0\r\n\r\n"


def _cut(content: bytes, tenths: int) -> bytes:
    return content[: len(content) * tenths // 10]


@functools.cache
def _zeros(count: int) -> bytes:
    """Compressed, a thousandth of what comes out."""
    return zlib.compress(bytes(count), 9)


def _noise_bytes(count: int) -> bytes:
    return np.random.default_rng(0).bytes(count)


@functools.cache
def _noise_jpeg() -> bytes:
    return encode(np.random.default_rng(0).integers(0, 256, (1_500, 1_500), dtype=np.uint8), "JPEG")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


_END = _chunk(b"IEND", b"")
_HEADER_BYTES = 8 + 25  # of a PNG: its magic, and IHDR


def _png_header(width: int, height: int) -> bytes:
    return png()[:8] + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def _with_chunk(image: bytes, kind: bytes, content: bytes, times: int = 1) -> bytes:
    return image[:_HEADER_BYTES] + _chunk(kind, content) * times + image[_HEADER_BYTES:]


def _with_wrong_crc(image: bytes, kind: bytes) -> bytes:
    start = image.index(kind)
    crc = start + 4 + int.from_bytes(image[start - 4 : start])
    return image[:crc] + bytes([image[crc] ^ 1]) + image[crc + 1 :]


def _with_flipped_pixel(image: bytes) -> bytes:
    middle = image.index(b"IDAT") + len(image) // 2
    return image[:middle] + bytes([image[middle] ^ 1]) + image[middle + 1 :]


def _jpeg_of_size(width: int, height: int) -> bytes:
    size = jpeg().index(b"\xff\xc0") + 5
    return jpeg()[:size] + struct.pack(">HH", height, width) + jpeg()[size + 4 :]


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def _ycck(colour: Image.Image) -> bytes:
    """A CMYK JPEG whose Adobe segment says that its colours were transformed."""
    image = encode(colour.convert("CMYK"), "JPEG")
    transform = image.index(b"Adobe") + 11
    return image[:transform] + b"\2" + image[transform + 1 :]


def _animated() -> bytes:
    frames = [Image.fromarray(grey(64, 64, seed)) for seed in range(2)]
    return encode(frames[0], save_all=True, append_images=frames[1:])


def _interlaced(pixels: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]") -> bytes:
    """Adam7: seven coarser pictures of it, one after another; Pillow reads but does not write it."""
    height, width = pixels.shape
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    lines = (row for y, x, down, right in steps for row in pixels[y::down, x::right])
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in lines))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    return png()[:8] + header + _chunk(b"IDAT", content) + _END
