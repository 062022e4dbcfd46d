import json
import shutil
from pathlib import Path

import pytest

from service.errors import ArtefactError
from service.model.artefact import read_artefact, write_sums
from tests.conftest import DEFAULT_MODEL

FILES = ("model.json", "model.onnx", "model.int8.onnx", "SHA256SUMS")
DESCRIPTION = json.loads((DEFAULT_MODEL / "model.json").read_text())
REVERSED = {"screening": 0.6, "balanced": 0.5, "rule_in": 0.7}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(DEFAULT_MODEL / name, tmp_path)
    return tmp_path


def test_a_flipped_bit_anywhere_in_the_sums_is_rejected(folder: Path) -> None:
    sums = (folder / "SHA256SUMS").read_bytes()
    for place in range(len(sums)):
        for bit in (0, 5):
            (folder / "SHA256SUMS").write_bytes(sums[:place] + bytes([sums[place] ^ 1 << bit]) + sums[place + 1 :])
            with pytest.raises(ArtefactError, match=r"model\.|SHA256SUMS"):
                read_artefact(folder, "fp32")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "another", "a flipped bit"])
def test_a_missing_or_damaged_file_is_named(folder: Path, file: str, damage: str) -> None:
    path, content = folder / file, (folder / file).read_bytes()
    path.unlink()
    if damage != "missing":
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes({"empty": b"", "another": b"version https://git-lfs.github.com/spec/v1\n"}.get(damage, flipped))
    with pytest.raises(ArtefactError, match=file):
        read_artefact(folder, "fp32")


def described(**changes: object) -> bytes:
    return json.dumps(DESCRIPTION | changes).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *((content, r"model\.json") for content in (b"\xff", b"[" * 100_000, b'{"name": "\xff"}')),
        *((described(name=name), r"model\.json: .* `\$\.name`") for name in ("", "a/b", "{name}", "two words", "-")),
        (described(schema_version=2), "schema_version is 2"),
        (described(positive="CAT"), "«CAT»"),
        (described(labels=["ONE"]), "labels"),
        (described(prior=1.5), "prior"),
        (described(thresholds=REVERSED), "screening"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_description_with_the_right_checksum_is_rejected(folder: Path, content: bytes, reason: str) -> None:
    (folder / "model.json").write_bytes(content)
    write_sums(folder, list(FILES[:3]))
    with pytest.raises(ArtefactError, match=reason):
        read_artefact(folder, "fp32")
