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
from typing import NamedTuple

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
    """`content`: all bytes that go onto the socket, or a function that makes them if they are large."""

    name: str
    expected: int
    content: bytes | Callable[[], bytes]

    def bytes(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content()


@functools.cache
def jpeg() -> bytes:
    return encode(grey(224, 224), "JPEG", quality=90)


@functools.cache
def png() -> bytes:
    return encode(grey(96, 80))


def cases() -> list[Case]:
    groups = bodies(), framing(), damaged_images(), sizes(), bombs(), other_formats(), good_images(), addresses(), heads()
    return [case for group in (*groups, batches(), open_inference()) for case in group]


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
    content = case.bytes()
    begin = time.perf_counter()
    try:
        answer = exchange(service.port, content)
        wrong = fault_of(case, content, answer)
    except TimeoutError:
        answer, wrong = Answer(NO_ANSWER, {}, b""), "no answer in time"
    milliseconds = 1000 * (time.perf_counter() - begin)
    healthy = service.is_healthy()
    return results.Answered(
        name=case.name,
        expected=[case.expected],
        status=answer.status,
        ms=round(milliseconds, 1),
        healthy=healthy,
        wrong=wrong if healthy else "; ".join(filter(None, (wrong, "not healthy afterwards"))),
    )


def fault_of(case: Case, content: bytes, answer: Answer) -> str:
    """Says what is wrong with an answer. Empty if nothing is."""
    if answer.status != case.expected:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if SECRET in answer.body or any(SECRET.decode() in value for value in answer.headers.values()):
        return "it echoes what it was sent"
    if content.startswith(b"HEAD "):
        return ""
    if answer.status >= 400:
        return fault_of_problem(content, answer)
    if content.startswith(b"POST /predict/batch"):
        return "; ".join(filter(None, map(fault_of_batch_item, json.loads(answer.body)["results"])))
    return fault_of_prediction(json.loads(answer.body)) if content.startswith(b"POST /predict") else ""


def fault_of_problem(content: bytes, answer: Answer) -> str:
    if answer.headers.get("content-type") != "application/problem+json":
        return f"content type {answer.headers.get('content-type')}"
    problem = json.loads(answer.body)
    if problem.get("status") != answer.status or not problem.get("title") or not isinstance(problem.get("detail"), str):
        return f"not a problem: {problem}"
    if content.startswith(b"POST /v2") and problem.get("error") != problem["detail"]:
        return f"no error for clients of the protocol: {problem}"
    return ""


def fault_of_batch_item(item: dict[str, dict[str, object]]) -> str:
    if problem := item.get("problem"):
        return "" if problem["status"] in (415, 422) else f"problem {problem}"
    return fault_of_prediction(item["prediction"])


def fault_of_prediction(prediction: dict[str, object]) -> str:
    values = prediction.get("probabilities")
    if not isinstance(values, dict) or len(values) != 2 or not all(map(math.isfinite, values.values())):
        return f"not a finite prediction: {prediction}"
    return "" if abs(sum(values.values()) - 1) < 1e-5 else f"probabilities {values}"


def bodies() -> list[Case]:
    image = part(jpeg())
    urlencoded = "Content-Type: application/x-www-form-urlencoded"
    multipart = "multipart/form-data"
    return [
        Case("A1 empty body", 415, post(b"")),
        Case("A2 no Content-Type", 200, post(jpeg())),
        Case("A3 wrong Content-Type, right bytes", 200, post(jpeg(), "Content-Type: text/plain")),
        Case("A4 JSON", 415, post(b'{"image": "SECRET"}', "Content-Type: application/json")),
        Case("A4 urlencoded", 415, post(b"image=SECRET", urlencoded)),
        Case("A5 form without a boundary", 400, form(image, content_type=multipart)),
        Case("A6 form with another boundary", 400, form(image, content_type=f"{multipart}; boundary=other")),
        Case("A6 form with an empty boundary", 400, form(image, content_type=f'{multipart}; boundary=""')),
        Case("A6 form with a boundary of 5 KB", 400, form(image, content_type=f"{multipart}; boundary={'b' * 5_000}")),
        Case("A7 form without a part", 400, post(b"", f"Content-Type: {FORM}")),
        Case("A7 form cut in the middle", 400, post(image[: len(image) // 2], f"Content-Type: {FORM}")),
        Case("A7 form cut in its last boundary", 400, post(image + f"--{BOUNDARY[:4]}".encode(), f"Content-Type: {FORM}")),
        Case("A8 part without a file name", 200, form(part(jpeg(), filename=None))),
        Case("A9 a text field alone", 415, form(part(b"SECRET", filename=None))),
        Case("A9 another field alone", 400, form(part(b"SECRET", "text", None))),
        Case("A10 empty file name", 200, form(part(jpeg(), filename=""))),
        Case("A10 empty file name, no content", 415, form(part(b"", filename=""))),
        Case("A11 charset=zzz", 200, form(image, content_type=f"{FORM}; charset=zzz")),
        Case("A11 a part's charset=zzz", 200, form(part(jpeg(), "image", "x", "Content-Type: text/plain; charset=zzz"))),
        Case("A11 a field that is not UTF-8", 200, form(part(b"\xff\xfe", "text", None), image)),
        Case("A12 two images", 400, form(image, image)),
        Case("A13 five parts", 400, form(*(part(b"x", f"text{number}", None) for number in range(4)), image)),
        Case("A13 50,000 parts", 400, lambda: form(part(b"", "x", None) * 50_000)),
        Case("A14 twelve headers of a part", 400, form(part(jpeg(), "image", "x", *(f"X-{n}: x" for n in range(12))))),
        Case("A15 a part's header of 9 KB", 400, form(part(jpeg(), "image", "x", "X-Long: " + "x" * 9_000))),
        Case("A16 file name ../../etc/SECRET", 200, form(part(jpeg(), filename="../../etc/SECRET"))),
        Case("A16 file name with NUL", 200, form(part(jpeg(), filename="SECRET\0.png"))),
        Case("A16 file name with CRLF", 200, form(part(jpeg(), filename="SECRET\r\nX-Evil: 1"))),
        Case("A16 file name with an escaped CRLF", 200, form(part(jpeg(), filename="SECRET%0D%0Ax"))),
        Case("A16 file name of 4 KB", 400, form(part(jpeg(), filename="SECRET" * 700))),
        Case("A16 file name that is not UTF-8", 200, form(part(jpeg(), filename="SECRET\udce9.png"))),
        Case("A16 file name without an end", 200, form(part(jpeg(), filename="SECRET").replace(b'SECRET"', b"SECRET"))),
        Case("A24 a file of no bytes", 415, form(part(b""))),
    ]


def framing() -> list[Case]:
    lengths = ("-1", "x", "1x", "0x10", "+5", "1.5", "1, 2", "", "\xb2", f"{10**30}", "5\r\nContent-Length: 6")
    trailer = b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n"
    return [
        Case("A17 Content-Length over the limit", 413, _with_length(str(MAX_BODY_BYTES + 1))),
        Case("A17 Content-Length of 10^18", 413, _with_length(str(10**18))),
        Case("A18 chunks over the limit", 413, lambda: chunked(*[bytes(1_000_000)] * 20, b"x")),
        Case("A19 a body of exactly the limit", 200, lambda: post(jpeg().ljust(MAX_BODY_BYTES, b"\0"))),
        Case("A19 one byte more", 413, lambda: post(jpeg().ljust(MAX_BODY_BYTES + 1, b"\0"))),
        *(Case(f"A20 Content-Length {length!a}", 400, _with_length(length)) for length in lengths),
        Case("A21 Content-Length and Transfer-Encoding", 400, _with_length("5\r\nTransfer-Encoding: chunked") + b"0\r\n\r\n"),
        *(
            Case(f"A21 Transfer-Encoding: {coding}", 400, _with_header(f"Transfer-Encoding: {coding}") + b"0\r\n\r\n")
            for coding in ("gzip", "chunked, identity")
        ),
        *(
            Case(f"A22 chunk size {size!r}", 400, chunked(jpeg(), size=size))
            for size in ("zz", "-1", "", "0x5", "5 5", "f" * 17)
        ),
        Case("A22 chunk longer than its size", 400, chunked(b"x" * 64, size="1")),
        Case("A22 chunk extensions", 200, chunked(jpeg(), size="{:x};name=value")),
        Case("A22 chunk extension of 1 MB", 431, lambda: chunked(jpeg(), size="{:x};" + "x" * 1_000_000)),
        Case("A22 some thousand chunks of one byte", 200, chunked(*(bytes([byte]) for byte in png()))),
        Case("A22 a million chunks of one byte", 400, lambda: chunked(*[b"x"] * 1_000_000)),
        Case("A22 trailers of 70 KB", 431, chunked(jpeg())[:-2] + trailer),
        Case("A23 Content-Encoding: gzip, a bomb", 415, lambda: post(_zeros(), "Content-Encoding: gzip")),
        Case("A23 Content-Encoding: br, right bytes", 415, post(jpeg(), "Content-Encoding: br")),
        Case("A23 Content-Encoding: identity", 200, post(jpeg(), "Content-Encoding: identity")),
    ]


def damaged_images() -> list[Case]:
    noise = np.random.default_rng(0).bytes(5_000)
    images = {"PNG": png(), "JPEG": jpeg()}
    return [
        Case("A25 the magic bytes of PNG alone", 422, post(png()[:8])),
        Case("A25 the magic bytes of JPEG alone", 422, post(jpeg()[:3])),
        *(
            Case(f"A26 {name} cut at {percent} %", 422, post(image[: len(image) * percent // 100]))
            for name, image in images.items()
            for percent in (10, 50, 90)
        ),
        Case("A27 a flipped bit among the pixels", 422, post(_flipped(png(), png().index(b"IDAT") + len(png()) // 2))),
        Case("A27 wrong CRC of pixels whose own checksum is right", 200, post(_flipped(png(), _crc_of(b"IDAT")))),
        Case("A27 wrong CRC of the header", 422, post(_flipped(png(), _crc_of(b"IHDR")))),
        Case("A27 a JPEG of noise after its header", 422, post(jpeg()[:700] + noise)),
        Case("A33 noise after the magic bytes of DICOM", 422, form(part(bytes(128) + b"DICM" + noise))),
        Case("A33 the magic bytes of DICOM alone", 422, form(part(bytes(128) + b"DICM"))),
    ]


def sizes() -> list[Case]:
    headers = ((60_000, 60_000), (9_000, 9_000), (2**31 - 1, 1), (0, 0))
    refused = ((1, 1), (1, 300), (3_200, 32), (31, 31), (4_097, 1_024))
    return [
        *(Case(f"A28 a PNG header of {width} × {height}", 422, post(_png_header(width, height))) for width, height in headers),
        *(Case(f"A28 a JPEG header of {size} × {size}", 422, post(_jpeg_header(size))) for size in (60_000, 0)),
        *(Case(f"A30 {width} × {height}", 422, post(encode(Image.new("L", (width, height))))) for width, height in refused),
        Case("A30 32 × 32", 200, post(encode(grey(32, 32)))),
        Case("A36 40 megapixels", 200, lambda: post(_40_megapixels())),
    ]


def bombs() -> list[Case]:
    """Large chunks that have nothing to do with the pixels: refused or ignored, never inflated."""
    heads = ((b"zTXt", b"Raw profile type exif\0\0"), (b"iTXt", b"Comment\0\1\0\0\0"), (b"iCCP", b"icc\0\0"))
    loop = b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08"
    frames = [Image.fromarray(grey(64, 64, seed)) for seed in range(2)]
    return [
        *(
            Case(
                f"A31 {kind.decode()} of 100 MB",
                422,
                functools.partial(lambda k, h: post(_with_chunk(k, h + _zeros())), kind, head),
            )
            for kind, head in heads
        ),
        Case("A31 eXIf of 5 MB", 200, lambda: post(_with_chunk(b"eXIf", b"MM\0*" + bytes(5_000_000)))),
        Case("A31 eXIf that points to itself", 200, post(_with_chunk(b"eXIf", loop))),
        Case("A31 pixels of 100 MB in 64 × 64", 200, lambda: post(_png_header(64, 64) + _chunk(b"IDAT", _zeros()) + _END)),
        Case("A31 20,000 empty chunks", 422, post(_with_chunk(b"tEXt", b"", times=20_001))),
        Case("A32 APNG of two frames", 422, post(encode(frames[0], save_all=True, append_images=frames[1:]))),
    ]


def other_formats() -> list[Case]:
    """Files of other formats, all named .png, and files that are two formats at once."""
    formats = ("GIF", "WEBP", "TIFF", "BMP", "EPS", "PDF", "ICO", "TGA", "PPM", "JPEG2000")
    html = b"<html><script>alert('SECRET')</script></html>"
    comment = b"\xff\xfe" + struct.pack(">H", len(html) + 2) + html
    others = {
        **{name: encode(grey(64, 64), name) for name in formats},
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, 64, 64, 8, 1) + bytes(5_000),
        "JPEG 2000 codestream": b"\xff\x4f\xff\x51" + bytes(1_000),
        "HTML and JPEG": html + jpeg(),
    }
    return [
        *(Case(f"A33 {name}", 415, form(part(content))) for name, content in others.items()),
        Case("A34 JPEG and HTML", 200, form(part(jpeg()[:2] + comment + jpeg()[2:] + html))),
        Case("A34 PNG and ZIP", 200, form(part(png() + b"PK\3\4SECRET" + bytes(100)))),
    ]


def good_images() -> list[Case]:
    picture = Image.fromarray(grey(120, 100))
    colour = Image.merge("RGB", [Image.fromarray(grey(120, 100, seed)) for seed in range(3)])
    cmyk = encode(colour.convert("CMYK"), "JPEG")
    transform = cmyk.index(b"Adobe") + 11
    exif = Image.Exif()
    exif[0x0112] = 6
    images = {
        "CMYK JPEG": cmyk,
        "YCCK JPEG": cmyk[:transform] + b"\2" + cmyk[transform + 1 :],
        "palette with a transparent colour": encode(picture.quantize(16), transparency=3),
        **{f"PNG of mode {mode}": encode(picture.convert(mode)) for mode in ("1", "I;16", "LA", "RGBA", "RGB", "P")},
        "interlaced PNG": _interlaced(grey(120, 100)),
        "progressive JPEG": encode(picture, "JPEG", progressive=True),
        "turned by EXIF": encode(picture, "JPEG", exif=exif),
        "all black": encode(Image.new("L", (100, 100), 0)),
        "all white": encode(Image.new("L", (100, 100), 255)),
        "noise": encode(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)),
        "colour JPEG": encode(colour, "JPEG"),
    }
    return [Case(f"A35 {name}", 200, post(image)) for name, image in images.items()]


def addresses() -> list[Case]:
    paths = {
        "/SECRET": 404, "/predict/SECRET": 404, "/%00": 404, "//": 200, "/../../etc/passwd": 404, "/predict%2f": 405,
        "/\xff": 400, "/health/": 200, "http://localhost/health": 200,
    }  # fmt: skip
    websocket = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    return [
        *(Case(f"A37 GET {path!a}", status, get(path)) for path, status in paths.items()),
        *(Case(f"A37 {method} /predict", 405, request(method, "/predict")) for method in ("GET", "PUT", "DELETE", "TRACE")),
        Case("A37 HEAD /health", 200, request("HEAD", "/health")),
        Case("A37 OPTIONS /predict", 204, request("OPTIONS", "/predict")),
        Case("A37 OPTIONS *", 404, request("OPTIONS", "*")),
        Case("A37 POST /health", 405, post(b"", path="/health")),
        Case("A37 CONNECT", 400, request("CONNECT", "localhost:80")),
        Case("A37 an unknown method", 400, request("BREW", "/predict")),
        Case("A37 ?heatmap=perhaps", 400, post(jpeg(), path="/predict?heatmap=perhaps")),
        Case("A37 a query that is not UTF-8", 400, post(jpeg(), path="/predict?heatmap=%ff&x=%")),
        Case("A37 the preface of HTTP/2", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Case("A37 HTTP/9.9", 400, b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n"),
        Case("A37 HTTP/0.9", 200, b"GET /health\r\n\r\n"),
        Case("A37 TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + np.random.default_rng(0).bytes(508)),
        Case("A37 a WebSocket", 200, get("/health", *websocket)),
    ]


def heads() -> list[Case]:
    health = {
        "a header of 33 KB": (431, ["X-Long: " + "x" * 33_000]),
        "a header of 30 KB": (200, ["X-Long: " + "x" * 30_000]),
        "101 headers": (431, [f"X-{number}: x" for number in range(100)]),
        "a header's name of 64 KB": (431, ["x" * 65_536 + ": x"]),
        "a header with NUL": (400, ["X-Odd: a\0b"]),
        "a header without a colon": (400, ["X-Odd"]),
        "a header without a name": (400, [": x"]),
        "a folded header": (400, ["X-Odd: a\r\n b"]),
        "a header of every byte above 127": (200, ["X-Odd: " + "".join(map(chr, range(128, 256)))]),
        "two Hosts": (200, ["Host: other"]),
        **{f"X-Request-ID {value[:9]!a}": (200, [f"X-Request-ID: {value}"]) for value in ("a b", "x" * 65, "\xe9", "SECRET!")},
    }
    predict = {
        "Expect: 100-continue": 200, "Expect: something": 200, "traceparent: SECRET": 200,
        **{f"X-Request-Timeout-Ms: {value}": 400 for value in ("0", "-5", "x", "1.5", "", "0x10", "\xb2", "nan", "9" * 5_000)},
        "X-Request-Timeout-Ms: " + "9" * 400: 200,
    }  # fmt: skip
    return [
        *(Case(f"A38 {name}", status, get("/health", *headers)) for name, (status, headers) in health.items()),
        Case("A38 an address of 64 KB", 431, get("/health?" + "x" * 65_536)),
        Case("A39 no Host", 200, b"GET /health HTTP/1.1\r\n\r\n"),
        Case("A39 Host that is none", 400, b"GET /health HTTP/1.1\r\nHost: <SECRET>\x7f\r\n\r\n"),
        *(Case(f"A40 {header[:99]!a}", status, post(jpeg(), header)) for header, status in predict.items()),
        Case("A40 40 megapixels in 20 ms", 504, lambda: post(_40_megapixels(), "X-Request-Timeout-Ms: 20")),
    ]


def batches() -> list[Case]:
    batch = functools.partial(form, path="/predict/batch")
    mixed = [part(image, "images") for image in (png(), b"", b"x", png()[:99], jpeg())]
    return [
        Case("batch of 16", 200, batch(part(png(), "images") * MAX_IMAGES)),
        Case("batch of 17", 400, batch(part(png(), "images") * (MAX_IMAGES + 1))),
        Case("batch of none", 400, batch()),
        Case("batch of another field", 400, batch(part(png(), "image"))),
        Case("batch without a form", 400, post(png(), path="/predict/batch")),
        Case("batch of good and bad images", 200, batch(*mixed)),
        Case("batch of bad images alone", 200, batch(*mixed[1:3])),
    ]


def open_inference() -> list[Case]:
    image = _element(jpeg())
    lists = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,1000,1000],"data":[' + b"[]," * 999_999 + b"[]]}]}"
    version = INFER.replace("/infer", "/versions/SECRET/infer")
    return [
        Case("V2 an image as bytes", 200, infer(image)),
        Case("V2 grey pixels", 200, infer(grey(40, 50).tobytes(), datatype="UINT8", shape=[1, 50, 40])),
        Case("V2 no body", 400, post(b"", path=INFER)),
        Case("V2 an image alone", 400, post(jpeg(), path=INFER)),
        Case("V2 100,000 nested lists", 400, post(b'{"inputs":' + b"[" * 100_000, path=INFER)),
        *(
            Case(f"V2 a JSON of {length[:9]} bytes", 400, infer(image, length=length))
            for length in ("-1", "x", "1000000", "9" * 400)
        ),
        Case("V2 a tensor of 2^62 bytes", 400, infer(b"x", size=2**62)),
        Case("V2 an image of 4 GB", 400, infer(b"\xff\xff\xff\xff")),
        *(Case(f"V2 {count} images", 400, infer(image, shape=[count])) for count in (2**62, -1, math.nan)),
        Case("V2 17 images", 400, infer(_element(png()) * (MAX_IMAGES + 1), shape=[MAX_IMAGES + 1])),
        Case("V2 8,192 × 8,192 pixels, one sent", 422, infer(b"x", datatype="UINT8", shape=[1, 8192, 8192])),
        Case("V2 pixels of 2^62 × 2^62", 422, infer(b"x", datatype="UINT8", shape=[1, 2**62, 2**62])),
        Case("V2 FP32", 400, infer(image, datatype="FP32")),
        Case("V2 a million empty lists for levels", 400, post(lists, path=INFER)),
        Case("V2 an unknown format", 415, infer(_element(b"SECRET"))),
        Case("V2 an image cut short", 422, infer(_element(jpeg()[: len(jpeg()) // 2]))),
        Case("V2 another model", 404, post(image, path="/v2/models/SECRET/infer")),
        Case("V2 another version", 404, post(image, path=version)),
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
