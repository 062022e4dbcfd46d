"""Prints what a checkout of the project promises to its users as JSON, so that two checkouts can be compared.

    diff <(python -m tests.benchmarks.contract path/to/checkout) <(python -m tests.benchmarks.contract .)

It asks the service of the checkout from outside: OpenAPI without its descriptions, `/model-info`, answers and their bits,
problems, metrics, the fields of a log line, settings, columns of archives, and exit codes."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import numpy as np

from tests.conftest import dicom_of, encode, free_port, grey, wait_until_ready

Json: TypeAlias = Any  # Any: a tree of JSON
OF_ONE_RUN = {"request_id", "batch_size", "timing_ms", "ms", "time", "decode_ms", "queue_ms", "inference_ms", "bytes", "detail"}
WORDS = {"description", "summary", "title", "default"}
PNG, WIDE = encode(grey(300, 260)), grey(500, 400).astype(np.uint16) * 257
IMAGES = [PNG, encode(grey(1300, 1000), "JPEG"), encode(WIDE), dicom_of(WIDE), dicom_of(grey(300, 260), PatientAge="063Y")]
BAD = [b"", b"no image", PNG[:200], encode(grey(20, 20)), encode(grey(500, 40)), dicom_of(grey(60, 60), Modality="CT")]
GETS = "/ /health /health/ready /health/live /model-info /nowhere /predict /report /v2 /v2/health/ready /v2/health/live"
GETS += " /v2/models/none /v2/models/{0} /v2/models/{0}/ready /web/main.js /web/none"
COMMANDS = """
service --help | service nothing | service predict nowhere --out x.csv | service predict nowhere --out x.txt |
training --help | training train --data nowhere | training train | training fit --run nowhere | training nothing
"""


def main(checkout: Path) -> Json:
    codes = {words.strip(): run(checkout, *words.split())[0] for words in COMMANDS.split("|")}
    with tempfile.TemporaryDirectory() as folder:
        archive = of_archive(checkout, Path(folder))
        return {"service": of_service(checkout, Path(folder)), "settings": of_settings(checkout), "archive": archive, **codes}


def run(checkout: Path, *words: str, **settings: str) -> tuple[int, str]:
    """The exit code, and what `python -m WORDS` writes to standard error."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=checkout, env=os.environ | settings, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def of_service(checkout: Path, folder: Path) -> Json:
    port = free_port()
    settings = {"MEDXFER_PORT": str(port), "MEDXFER_TOKEN": "secret", "MEDXFER_VARIANT": "fp32", "MEDXFER_LANES": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "service"], cwd=checkout, env=os.environ | settings, stderr=log)
    headers = {"authorization": "Bearer secret"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False, headers=headers) as client:
            wait_until_ready(str(client.base_url), process)
            answers = of_answers(client)
            metrics = re.findall(r"^# TYPE (.*)$|^(medxfer_\w+(?:{[^}]*})?)", client.get("/metrics").text, re.MULTILINE)
    finally:
        process.terminate()
        code = process.wait(30)
    lines = map(json.loads, (folder / "log").read_text().splitlines())
    return {
        "answers": answers,
        "metrics": sorted({kind or re.sub(r"(\w+)=\"[^\"]*\"", r"\1", series) for kind, series in metrics}),
        "log": sorted({" ".join(sorted(line)) for line in lines if line["message"] in ("request", "ready")}),
        "exit code": code,
    }


def of_answers(client: httpx.Client) -> Json:
    """By request, status and body: of problems type and status, of all others everything that is the same each time."""
    model = client.get("/model-info").json()["name"]
    found = {f"GET {path}": client.get(path) for path in GETS.format(model).split()}
    found |= {f"predict {at}": client.post("/predict?heatmap=true", content=data) for at, data in enumerate([*IMAGES, *BAD])}
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
    return {"openapi": without_words(schema["paths"], schema)} | {name: body_of(answer) for name, answer in found.items()}


def body_of(answer: httpx.Response) -> Json:
    content_type = answer.headers.get("content-type", "")
    body = of_every_run(answer.json()) if content_type.endswith("json") else content_type
    return {"status": answer.status_code, "headers": sorted(answer.headers), "body": body}


def of_every_run(tree: Json) -> Json:
    if isinstance(tree, dict):
        return {name: of_every_run(value) for name, value in tree.items() if name not in OF_ONE_RUN | WORDS}
    return [of_every_run(value) for value in tree] if isinstance(tree, list) else tree


def without_words(tree: Json, schema: Json) -> Json:
    """Component schemas stand where they are referred to, since their names are those of classes."""
    if isinstance(tree, dict):
        if "$ref" in tree:
            return without_words(schema["components"]["schemas"][tree["$ref"].rpartition("/")[2]], schema)
        kept = {name: value for name, value in tree.items() if value != [] and (name not in WORDS or isinstance(value, dict))}
        return {name: without_words(value, schema) for name, value in kept.items()}
    return [without_words(value, schema) for value in tree] if isinstance(tree, list) else tree


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
    (folder / "archive").mkdir()
    for number, data in enumerate([*IMAGES, *BAD]):
        (folder / f"archive/{number}.dcm").write_bytes(data)
    found = {}
    for out in (folder / "rows.csv", folder / "rows.jsonl"):
        code, _ = run(checkout, "service", "predict", str(folder / "archive"), "--out", str(out), MEDXFER_VARIANT="fp32")
        rows = out.read_text().splitlines()
        found[out.suffix] = [code, *(re.sub(r'"detail":"[^"]*"|(?<=,urn)([^,]*),("[^"]*"|[^,]*)', r"\1", row) for row in rows)]
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]).resolve()), indent=1, sort_keys=True, ensure_ascii=False))
