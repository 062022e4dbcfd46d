"""List A: malformed, unusual and rare requests, each with its one right status (make test: service/http/test_hostile.py)."""

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
from tests.service.http.helpers import INFER
from tests.torture import results
from tests.torture.process import Service, serving
from tests.torture.wire import FORM, NO_ANSWER, Answer, chunked, exchange, form, get, part, post, request

MAX_BODY_BYTES = 64_000_000  # the service's default
WARM_UPS = 3  # until malloc has settled: the memory that it keeps of threads swings by 40 MB at first
REST_SECONDS = 2.0
RSS_LIMIT_MB = 20.0
JPEG = encode(grey(224, 224), "JPEG", quality=90)
PNG = encode(grey(96, 80))
PNG_HEAD = PNG[:33]  # the magic bytes and IHDR, whose CRC starts at 29; IEND are the last 12


class Case(NamedTuple):
    name: str
    expected: int
    requests: "tuple[bytes | Callable[[], bytes], ...]"  # all bytes that go onto the socket; a function if they are many


def case(name: str, expected: int, *requests: bytes | Callable[[], bytes]) -> Case:
    return Case(name, expected, requests)


def cases() -> list[Case]:
    return [*messages(), *contents()]


def run() -> results.Findings:
    with serving() as service:
        everything = cases()
        for case in everything * WARM_UPS:
            check(service, case)
        time.sleep(REST_SECONDS)
        before = service.rss_mb()
        answered = [check(service, case) for case in everything]
        time.sleep(REST_SECONDS)
        growth, errors = service.rss_mb() - before, service.errors()
    found = growth <= RSS_LIMIT_MB, f"{before:.1f} MB before, {growth:+.1f} MB after"
    name, expected = f"memory, all cases once more after {WARM_UPS} times", f"at most {RSS_LIMIT_MB:.0f} MB more"
    log = results.checked("the log after all cases", "no error", (not errors, (errors or ["none"])[0][:200]))
    return [*answered, results.checked(name, expected, found), log]


def check(service: Service, case: Case) -> results.Answered:
    """Sends the case's requests one after another. The result is that of the first wrong answer, or of the last request."""
    slowest, status, wrong = 0.0, NO_ANSWER, ""
    for make in case.requests:
        content = make if isinstance(make, bytes) else make()
        begin = time.perf_counter()
        answer = exchange(service.port, content)
        slowest = max(slowest, time.perf_counter() - begin)
        status, wrong = answer.status, fault_of(case.expected, content, answer)
        if wrong:
            wrong += f", to {content[:200]!r}"
            break
    healthy = service.is_healthy()
    wrong += "" if healthy else " (not healthy afterwards)"
    ms = round(1000 * slowest, 1)
    return results.Answered(name=case.name, expected=[case.expected], status=status, ms=ms, healthy=healthy, wrong=wrong)


def fault_of(expected: int, content: bytes, answer: Answer) -> str:
    if answer.status != expected:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if "SECRET" in repr(answer):
        return "it echoes what it was sent"
    if answer.status >= 400:
        kind, problem = answer.headers.get("content-type"), json.loads(answer.body)
        detail, error = problem.get("detail"), problem.get("error")  # clients of the Open Inference Protocol read `error`
        good = kind == "application/problem+json" and problem.get("status") == answer.status and problem.get("title")
        good = good and str(problem.get("type")).startswith("urn:medxfer:problem:")
        good = good and isinstance(detail, str) and (error == detail or not content.startswith(b"POST /v2"))
        return "" if good else f"not a problem: {kind}, {problem}"
    document = json.loads(answer.body) if content.startswith(b"POST /predict") else {"results": []}
    wrong = [item for item in document.get("results", [{"prediction": document}]) if not is_result(item)]
    return f"wrong results: {wrong}" if wrong else ""


def is_result(item: dict[str, dict[str, Any]]) -> bool:  # Any: JSON
    if problem := item.get("problem"):
        return problem["status"] in (415, 422)
    values = item["prediction"]["probabilities"].values()
    return len(values) == 2 and all(map(math.isfinite, values)) and abs(sum(values) - 1) < 1e-5


def messages() -> list[Case]:
    bodiless = functools.partial(request, "POST", "/predict", length=False)
    image, plain, zzz = part(JPEG), "Content-Type: text/plain", "; charset=zzz"
    gzip, header = "Content-Encoding: gzip", f"Content-Type: {FORM}"
    texts = (b'{"image": "SECRET"}', "json"), (b"image=SECRET", "x-www-form-urlencoded")
    boundaries = ("", "; boundary=other", '; boundary=""', f"; boundary={'b' * 5_000}")
    names = (None, "", "../../etc/SECRET", "SECRET\0.png", "SECRET\r\nX-Evil: 1", "SECRET%0D%0Ax", "SECRET\udce9.png")
    unclosed = form(part(JPEG, filename="SECRET").replace(b'SECRET"', b"SECRET"))
    lengths = ("-1", "x", "1x", "0x10", "+5", "1.5", "1, 2", "", "\xb2", f"{10**30}", "5\r\nContent-Length: 6")
    codings = ("gzip", "chunked, identity", "chunked\r\nContent-Length: 5")
    chunk_sizes = ("zz", "-1", "", "0x5", "5 5", "f" * 17, "1")
    many = [f"X-{n}: x" for n in range(12)], ["X-Long: " + "x" * 9_000]
    trailers = chunked(JPEG)[:-2] + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n"
    nowhere = ("/SECRET", "/predict/SECRET", "/%00", "/../../etc/passwd")
    websocket = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    http_0_9, http_9_9 = b"GET /health\r\n\r\n", b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n"
    no_host, bad_host = b"GET /health HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: <SECRET>\x7f\r\n\r\n"
    large = ["X-Long: " + "x" * 33_000], ["x" * 65_536 + ": x"], [f"X-{n}: x" for n in range(100)]
    bad = ("X-Odd: a\0b", "X-Odd", ": x", "X-Odd: a\r\n b")
    ids = [f"X-Request-ID: {value}" for value in ("a b", "x" * 65, "\xe9", "SECRET!")]
    odd = ("X-Odd: " + "".join(map(chr, range(128, 256))), "X-Long: " + "x" * 30_000, "Host: other", *ids)
    timeouts = ("0", "-5", "x", "1.5", "", " ", "0x10", "\xb2", "nan", "5, 5", "9" * 5_000)
    ignored = ("Expect: 100-continue", "Expect: something", "traceparent: SECRET", "X-Request-Timeout-Ms: " + "9" * 400)
    return [
        case("A1 empty body or file", 415, post(b""), form(part(b"")), form(part(b"", filename=""))),
        case("A2 right bytes, odd headers", 200, post(JPEG), post(JPEG, plain), post(JPEG, "Content-Encoding: identity")),
        case("A4 JSON, urlencoded", 415, *(post(body, f"Content-Type: application/{kind}") for body, kind in texts)),
        case("A6 a wrong boundary", 400, *(form(image, content_type=f"multipart/form-data{end}") for end in boundaries)),
        case("A7 form cut short", 400, *(post(body, header) for body in (b"", image[:4_000], image + b"--tort"))),
        case("A9 a text field alone", 415, form(part(b"SECRET", filename=None))),
        case("A11 charset=zzz", 200, form(image, content_type=FORM + zzz), form(part(JPEG, "image", "x", plain + zzz))),
        case("A11 a field that is not UTF-8", 200, form(part(b"\xff\xfe", "text", None), image)),
        case("A12 no or two images", 400, form(part(b"SECRET", "text", None)), form(image, image)),
        case("A13 five parts", 400, form(*(part(b"x", f"text{n}", None) for n in range(4)), image)),
        case("A13 50,000 parts", 400, lambda: form(part(b"", "x", None) * 50_000)),
        case("A14 twelve headers of a part, or one of 9 KB", 400, *(form(part(JPEG, "image", "x", *lines)) for lines in many)),
        case("A16 no or an odd file name", 200, *(form(part(JPEG, filename=name)) for name in names), unclosed),
        case("A16 file name of 4 KB", 400, form(part(JPEG, filename="SECRET" * 700))),
        case("A17 too large a Content-Length", 413, *(bodiless(f"Content-Length: {n}") for n in (MAX_BODY_BYTES + 1, 10**18))),
        case("A18 chunks over the limit", 413, lambda: chunked(*[bytes(1_000_000)] * (MAX_BODY_BYTES // 1_000_000), b"x")),
        case("A19 a body of exactly the limit", 200, lambda: post(JPEG.ljust(MAX_BODY_BYTES, b"\0"))),
        case("A19 one byte more", 413, lambda: post(JPEG.ljust(MAX_BODY_BYTES + 1, b"\0"))),
        case("A20 wrong Content-Length", 400, *(bodiless(f"Content-Length: {length}") for length in lengths)),
        case("A21 other Transfer-Encodings", 400, *(bodiless(f"Transfer-Encoding: {c}") + b"0\r\n\r\n" for c in codings)),
        case("A22 wrong chunk sizes", 400, *(chunked(JPEG, size=size) for size in chunk_sizes)),
        case("A22 extension of 1 MB, trailers of 70 KB", 431, lambda: chunked(JPEG, size="{:x};" + "x" * 10**6), trailers),
        case("A22 odd chunks", 200, chunked(JPEG, size="{:x};name=value"), chunked(*(bytes([byte]) for byte in PNG))),
        case("A22 a million chunks of one byte", 400, lambda: chunked(*[b"x"] * 1_000_000)),
        case("A23 Content-Encoding: gzip of a bomb, br", 415, lambda: post(_zeros(), gzip), post(JPEG, "Content-Encoding: br")),
        case("A37 GET an unknown address", 404, *map(get, nowhere), request("OPTIONS", "*")),
        case("A37 GET another spelling of an address", 200, *map(get, ("//", "/health/", "http://localhost/health"))),
        case("A37 another method", 405, *(request(name, "/predict") for name in ("GET", "PUT", "DELETE", "PATCH", "TRACE"))),
        case("A37 OPTIONS /predict", 204, request("OPTIONS", "/predict")),
        case("A37 the wrong method for an address", 405, post(b"", path="/health"), get("/predict%2f")),
        case("A37 an unknown method", 400, request("CONNECT", "localhost:80"), request("BREW", "/predict")),
        case("A37 a wrong query", 400, *(post(JPEG, path=f"/predict?heatmap={value}") for value in ("perhaps", "%ff&x=%"))),
        case("A37 /\\xff, HTTP/2, HTTP/9.9", 400, get("/\xff"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http_9_9),
        case("A37 TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + np.random.default_rng(0).bytes(508)),
        case("A37 HEAD, HTTP/0.9, a WebSocket", 200, request("HEAD", "/health"), http_0_9, get("/health", *websocket)),
        case("A38 too large a head", 431, *(get("/health", *lines) for lines in large), get("/health?" + "x" * 65_536)),
        case("A38 a malformed header or Host", 400, *(get("/health", header) for header in bad), bad_host),
        case("A38 odd or long headers, no Host or two", 200, *(get("/health", header) for header in odd), no_host),
        case("A40 Expect, traceparent that is none, timeout of 400 digits", 200, *(post(JPEG, header) for header in ignored)),
        case("A40 wrong timeout", 400, *(post(JPEG, f"X-Request-Timeout-Ms: {value}") for value in timeouts)),
        # 50 KB, which arrive at once, take every CPU longer to decode than 1 ms.
        case("A40 40 megapixels in 1 ms", 504, lambda: post(_40_megapixels(), "X-Request-Timeout-Ms: 1")),
    ]


def contents() -> list[Case]:
    """Large chunks without pixels are refused or ignored, never inflated. Files of other formats are named .png."""
    noise = np.random.default_rng(0).bytes(5_000)
    sizes = ((60_000, 60_000), (9_000, 9_000), (2**31 - 1, 1), (0, 0))
    jpeg_sizes = (b"\xea\x60\xea\x60", bytes(4))
    refused = ((1, 1), (1, 300), (3_200, 32), (31, 31), (4_097, 1_024))
    loop = b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08"
    at = JPEG.index(b"\xff\xc0") + 5
    apng = encode(grey(64, 64), save_all=True, append_images=[Image.fromarray(grey(64, 64, 1))])
    formats = ("GIF", "WEBP", "TIFF", "BMP", "EPS", "PDF", "ICO", "TGA", "PPM", "JPEG2000")
    html = b"<html><script>alert('SECRET')</script></html>"
    comment = b"\xff\xfe" + struct.pack(">H", len(html) + 2) + html
    picture = Image.fromarray(grey(120, 100))
    colour = Image.merge("RGB", [Image.fromarray(grey(120, 100, seed)) for seed in range(3)])
    transparent = encode(picture.quantize(16), transparency=3)
    cmyk = encode(colour.convert("CMYK"), "JPEG")
    transform = cmyk.index(b"Adobe") + 11
    exif = Image.Exif()
    exif[0x0112] = 6
    colours = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    modes = ("1", "I;16", "LA", "RGBA", "P")
    heads = {
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, 64, 64, 8, 1) + bytes(5_000),
        "JPEG 2000 codestream": b"\xff\x4f\xff\x51" + bytes(1_000),
        "HTML and JPEG": html + JPEG,
    }
    batch = functools.partial(form, path="/predict/batch")
    mixed = [part(image, "images") for image in (PNG, b"", b"x", PNG[:99], JPEG)]
    most, tensor = part(PNG, "images") * 16, _element(JPEG)
    lists = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,1000,1000],"data":[' + b"[]," * 999_999 + b"[]]}]}"
    nested = b'{"inputs":' + b"[" * 100_000
    levels = functools.partial(infer, datatype="UINT8")
    version = INFER.replace("/infer", "/versions/SECRET/infer")
    return [
        case("A25 magic bytes alone", 422, post(PNG[:8]), post(JPEG[:3]), post(bytes(128) + b"DICM")),
        case("A26 cut short", 422, *(post(image[: len(image) * n // 10]) for image in (PNG, JPEG) for n in range(1, 10))),
        case("A27 wrong CRC of pixels whose own checksum is right", 200, post(_flipped(PNG, -16))),
        case("A27 a flipped bit in a CRC, or a pixel", 422, post(_flipped(PNG, 29)), post(_flipped(PNG, 37 + len(PNG) // 2))),
        case("A27 noise after a header", 422, post(JPEG[:700] + noise), post(bytes(128) + b"DICM" + noise)),
        case("A28 PNG header of an impossible size", 422, *(post(_png_header(*size)) for size in sizes)),
        case("A28 a JPEG of an impossible size", 422, *(post(JPEG[:at] + size + JPEG[at + 4 :]) for size in jpeg_sizes)),
        case("A30 too small or too narrow", 422, *(post(encode(Image.new("L", size))) for size in refused)),
        case("A31 zTXt of 100 MB", 422, lambda: post(_with_chunk(b"zTXt", b"Raw profile type exif\0\0" + _zeros()))),
        case("A31 iTXt of 100 MB", 422, lambda: post(_with_chunk(b"iTXt", b"Comment\0\1\0\0\0" + _zeros()))),
        case("A31 iCCP of 100 MB", 422, lambda: post(_with_chunk(b"iCCP", b"icc\0\0" + _zeros()))),
        case("A31 eXIf of 5 MB", 200, lambda: post(_with_chunk(b"eXIf", b"MM\0*" + bytes(5_000_000)))),
        case("A31 eXIf that points to itself", 200, post(_with_chunk(b"eXIf", loop))),
        case("A31 pixels of 100 MB in 64 × 64", 200, lambda: post(_png_header(64, 64) + _chunk(b"IDAT", _zeros()) + PNG[-12:])),
        case("A31 20,001 empty chunks, APNG of two frames", 422, post(_with_chunk(b"tEXt", b"", times=20_001)), post(apng)),
        *(case(f"A33 {name}", 415, form(part(encode(grey(64, 64), name)))) for name in formats),
        *(case(f"A33 {name}", 415, form(part(content))) for name, content in heads.items()),
        case("A34 JPEG and HTML", 200, form(part(JPEG[:2] + comment + JPEG[2:] + html))),
        case("A34 PNG and ZIP", 200, form(part(PNG + b"PK\3\4SECRET" + bytes(100)))),
        case("A35 CMYK and YCCK JPEG", 200, post(cmyk), post(cmyk[:transform] + b"\2" + cmyk[transform + 1 :])),
        *(case(f"A35 PNG of mode {mode}", 200, post(encode(picture.convert(mode)))) for mode in modes),
        case("A35 interlaced or transparent PNG", 200, post(_interlaced(grey(120, 100))), post(transparent)),
        case("A35 progressive JPEG", 200, post(encode(picture, "JPEG", progressive=True))),
        case("A35 turned by EXIF", 200, post(encode(picture, "JPEG", exif=exif))),
        case("A36 40 megapixels", 200, lambda: post(_40_megapixels())),
        case("A36 all black or white", 200, *(post(encode(Image.new("L", (100, 100), level))) for level in (0, 255))),
        case("A36 tiny, colour, noise", 200, post(encode(grey(32, 32))), post(encode(colour, "JPEG")), post(encode(colours))),
        case("batch or tensor of 17", 400, batch(most, mixed[0]), infer(_element(PNG) * 17, shape=[17])),
        case("batch without images", 400, batch(), batch(part(PNG, "a"), part(PNG, "b")), post(PNG, path="/predict/batch")),
        case("batch of 16, of good and bad images, of bad ones", 200, batch(most), batch(*mixed), batch(*mixed[1:3])),
        case("V2 an image, and grey pixels", 200, infer(tensor), levels(grey(40, 50).tobytes(), shape=[1, 50, 40])),
        case("V2 no JSON, or malformed JSON", 400, *(post(content, path=INFER) for content in (b"", JPEG, nested, lists))),
        case("V2 a wrong length of the JSON", 400, *(infer(tensor, length=n) for n in ("-1", "x", "1000000", "9" * 400))),
        case("V2 a tensor of 2^62 bytes, an image of 4 GB", 400, infer(b"x", size=2**62), infer(b"\xff\xff\xff\xff")),
        case("V2 a wrong number of images", 400, *(infer(tensor, shape=[count]) for count in (2**62, -1, math.nan))),
        case("V2 too many pixels", 422, levels(b"x", shape=[1, 8192, 8192]), levels(b"x", shape=[1, 2**62, 2**62])),
        case("V2 FP32", 400, infer(tensor, datatype="FP32")),
        case("V2 an unknown format", 415, infer(_element(b"SECRET"))),
        case("V2 an image cut short", 422, infer(_element(JPEG[: len(JPEG) // 2]))),
        case("V2 another model or version", 404, *(post(tensor, path=path) for path in ("/v2/models/SECRET/infer", version))),
    ]


def infer(content: bytes, *, length: str = "", size: int | None = None, **changes: object) -> bytes:
    """`content`: the tensor, behind the JSON. `size` and `length` replace the true size of the tensor and of the JSON."""
    parameters = {"binary_data_size": len(content) if size is None else size}
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": parameters} | changes
    header = json.dumps({"inputs": [tensor]}).encode()
    return post(header + content, f"Inference-Header-Content-Length: {length or len(header)}", path=INFER)


def _element(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


@functools.cache
def _zeros() -> bytes:
    return zlib.compress(bytes(100_000_000), 9)  # to a thousandth


@functools.cache
def _40_megapixels() -> bytes:
    return encode(Image.new("L", (8_000, 5_000), 90))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_header(width: int, height: int, interlace: int = 0) -> bytes:
    return PNG[:8] + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))


def _with_chunk(kind: bytes, content: bytes, times: int = 1) -> bytes:
    return PNG_HEAD + _chunk(kind, content) * times + PNG[len(PNG_HEAD) :]


def _flipped(image: bytes, place: int) -> bytes:
    return image[:place] + bytes([image[place] ^ 1]) + image[place + 1 :]


def _interlaced(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Adam7: seven coarser pictures, one after another. Pillow reads it but does not write it."""
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    lines = (row for y, x, down, right in steps for row in pixels[y::down, x::right])
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in lines))
    return _png_header(pixels.shape[1], pixels.shape[0], interlace=1) + _chunk(b"IDAT", content) + PNG[-12:]
