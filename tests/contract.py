"""Writes what a checkout of the project promises to its users as JSON, so that two checkouts can be compared.

    python -m tests.contract path/to/checkout >before.json
    python -m tests.contract . >after.json
    diff before.json after.json

It starts the service of the checkout and asks it from outside: OpenAPI without its descriptions, `/model-info`, answers and
their bits, problems, metrics, the fields of a log line, settings, columns of archives, and exit codes.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import numpy as np

from tests.conftest import dicom_of, encode, free_port, grey

Json: TypeAlias = Any  # Any: a tree of JSON
TOKEN = {"authorization": "Bearer secret"}
OF_ONE_RUN = {"request_id", "batch_size", "timing_ms", "ms", "time", "decode_ms", "queue_ms", "inference_ms", "bytes"}
WORDS = {"description", "summary", "title"}
PNG = encode(grey(300, 260))
WIDE = grey(500, 400).astype(np.uint16) * 257
IMAGES = [PNG, encode(grey(1300, 1000), "JPEG"), encode(WIDE), dicom_of(WIDE), dicom_of(grey(300, 260), PatientAge="063Y")]
BAD = [b"", b"no image", PNG[:200], encode(grey(20, 20)), encode(grey(500, 40)), dicom_of(grey(60, 60), Modality="CT")]


def main(checkout: Path) -> Json:
    with tempfile.TemporaryDirectory() as folder:
        return {
            "service": of_service(checkout, Path(folder)),
            "settings": of_settings(checkout),
            "archive": of_archive(checkout, Path(folder)),
            "exit codes": {" ".join(words): run(checkout, *words)[0] for words in COMMANDS},
        }


COMMANDS = [
    ["service", "--help"], ["service", "nothing"], ["service", "predict", "nowhere", "--out", "x.csv"],
    ["service", "predict", "nowhere", "--out", "x.txt"], ["training", "--help"], ["training", "train", "--data", "nowhere"],
    ["training", "train"], ["training", "fit", "--run", "nowhere"], ["training", "nothing"],
]  # fmt: skip


def run(checkout: Path, *words: str, **settings: str) -> tuple[int, str]:
    """The exit code, and what `python -m WORDS` writes to standard error."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=checkout, env=os.environ | settings, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def of_service(checkout: Path, folder: Path) -> Json:
    port, log = free_port(), folder / "log"
    settings = {"MEDXFER_PORT": str(port), "MEDXFER_TOKEN": "secret", "MEDXFER_VARIANT": "fp32", "MEDXFER_LANES": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "service"], cwd=checkout, env=os.environ | settings, stderr=file)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False, headers=TOKEN) as client:
            wait_until_ready(client)
            answers = of_answers(client)
            metrics = re.findall(r"^# TYPE (.*)$|^(medxfer_\w+(?:{[^}]*})?)", client.get("/metrics").text, re.MULTILINE)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        "answers": answers,
        "metrics": sorted({kind or re.sub(r"(\w+)=\"[^\"]*\"", r"\1", series) for kind, series in metrics}),
        "log": sorted({" ".join(sorted(line)) for line in lines if line["message"] in ("request", "ready")}),
        "exit code": process.returncode,
    }


def wait_until_ready(client: httpx.Client) -> None:
    for _ in range(300):
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.ConnectError:
            pass
        time.sleep(0.1)
    raise SystemExit("the service does not become ready")


def of_answers(client: httpx.Client) -> Json:
    """By request, status and body: of problems type and status, of all others everything that is the same each time."""
    model = client.get("/model-info").json()["name"]
    gets = [
        "/",
        "/health",
        "/health/ready",
        "/health/live",
        "/model-info",
        "/nowhere",
        "/predict",
        "/report",
        "/v2",
        "/v2/health/ready",
    ]
    gets += [
        f"/v2/models/{model}",
        f"/v2/models/{model}/ready",
        "/v2/models/none",
        "/v2/health/live",
        "/web/main.js",
        "/web/none",
    ]
    found: dict[str, httpx.Response] = {f"GET {path}": client.get(path) for path in gets}
    found |= {
        f"predict {number}": client.post("/predict?heatmap=true", content=data) for number, data in enumerate([*IMAGES, *BAD])
    }
    found["form"] = client.post("/predict", files={"image": ("x.png", PNG)})
    found["wrong field"] = client.post("/predict", files={"picture": ("x.png", PNG)})
    found["batch"] = client.post("/predict/batch", files=[("images", data) for data in [*IMAGES[:2], BAD[1]]])
    found["no form"] = client.post("/predict/batch", content=PNG)
    found["no token"] = httpx.post(client.base_url.join("/predict"), content=PNG, trust_env=False)
    found["encoded"] = client.post("/predict", content=PNG, headers={"content-encoding": "gzip"})
    found["wrong query"] = client.post("/predict?heatmap=perhaps", content=PNG)
    found["too large"] = client.post("/predict", content=bytes(20_000_001))
    found["late"] = client.post("/predict", content=encode(grey(6000, 6000)), headers={"x-request-timeout-ms": "10"})
    found["large head"] = client.get("/health", headers={"x-large": "x" * 40_000})
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 40, 40], "data": grey(40, 40).ravel().tolist()}
    for name, inputs in {"infer": [tensor], "infer none": [], "infer few": [tensor | {"shape": [2, 40, 40]}]}.items():
        found[name] = client.post(f"/v2/models/{model}/infer", json={"id": "7", "inputs": inputs})
    schema = client.get("/schema/openapi.json").json()
    return {"openapi": without_words(schema, schema)} | {name: body_of(answer) for name, answer in found.items()}


def body_of(answer: httpx.Response) -> Json:
    content_type = answer.headers.get("content-type", "")
    if content_type == "application/problem+json":
        body = {name: answer.json()[name] for name in answer.json() if name in ("type", "status")}
    else:
        body = of_every_run(answer.json()) if content_type == "application/json" else content_type
    return {"status": answer.status_code, "headers": sorted(answer.headers), "body": body}


def of_every_run(tree: Json) -> Json:
    if isinstance(tree, dict):
        return {name: of_every_run(value) for name, value in tree.items() if name not in {*OF_ONE_RUN, *WORDS, "detail"}}
    return [of_every_run(value) for value in tree] if isinstance(tree, list) else tree


def without_words(tree: Json, whole: Json) -> Json:
    """Component schemas stand where they are referred to, since their names are those of classes."""
    if isinstance(tree, dict):
        if "$ref" in tree:
            return without_words(whole["components"]["schemas"][tree["$ref"].rpartition("/")[2]], whole)
        kept = {
            name: value for name, value in tree.items() if value != [] and (name not in WORDS or not isinstance(value, str))
        }
        return {name: without_words(value, whole) for name, value in kept.items() if tree is not whole or name == "paths"}
    return [without_words(value, whole) for value in tree] if isinstance(tree, list) else tree


def of_settings(checkout: Path) -> Json:
    """By setting, the exit code for a value that none takes, and the limits that its message names."""
    _, names = run(checkout, "service", MEDXFER_NOTHING="1")
    found = {}
    for name in sorted(set(re.findall(r"MEDXFER_[A-Z_]+", names)) - {"MEDXFER_NOTHING"}):
        value = "" if name in ("MEDXFER_HOST", "MEDXFER_MODEL", "MEDXFER_VARIANT") else "\t"
        code, words = run(checkout, "service", **{name: value})
        found[name] = [code, re.findall(r"[\d,]+ to [\d,]+|debug.*", words)]
    return found


def of_archive(checkout: Path, folder: Path) -> Json:
    archive = folder / "archive"
    archive.mkdir()
    for number, data in enumerate([*IMAGES, *BAD]):
        (archive / f"{number}.dcm").write_bytes(data)
    found = {}
    for suffix in ("csv", "jsonl"):
        out = folder / f"rows.{suffix}"
        code, _ = run(checkout, "service", "predict", str(archive), "--out", str(out), MEDXFER_VARIANT="fp32")
        rows = out.read_text().splitlines()
        found[suffix] = [code, *(re.sub(r'"detail":"[^"]*"|(?<=,urn)([^,]*),("[^"]*"|[^,]*)', r"\1", row) for row in rows)]
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]).resolve()), indent=1, sort_keys=True, ensure_ascii=False))
