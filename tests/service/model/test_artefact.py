import json
import shutil
from pathlib import Path

import pytest

from service.errors import ArtefactError
from service.model.artefact import read_artefact, write_sums
from tests.conftest import DEFAULT_MODEL

FILES = ("model.json", "model.onnx", "model.int8.onnx", "SHA256SUMS")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))


def test_the_default_model_can_be_trusted(folder: Path) -> None:
    assert read_artefact(folder, "fp32").description.labels == ["NORMAL", "PNEUMONIA"]


@pytest.mark.parametrize("file", FILES)
def test_one_flipped_bit_is_refused(folder: Path, file: str) -> None:
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(ArtefactError, match=r"model\.|SHA256SUMS"):
        read_artefact(folder, "fp32")


def test_a_flipped_bit_anywhere_in_the_sums_is_refused(folder: Path) -> None:
    sums = (folder / "SHA256SUMS").read_bytes()
    for place in range(len(sums)):
        for bit in (0, 5):
            (folder / "SHA256SUMS").write_bytes(sums[:place] + bytes([sums[place] ^ 1 << bit]) + sums[place + 1 :])
            with pytest.raises(ArtefactError, match=r"model\.|SHA256SUMS"):
                read_artefact(folder, "fp32")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_missing_empty_or_other_file_is_refused_by_name(folder: Path, file: str, content: bytes | None) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(ArtefactError, match=file):
        read_artefact(folder, "fp32")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="nowhere"):
        read_artefact(tmp_path / "nowhere", "fp32")


@pytest.mark.parametrize("name", ["", "a/b", "{name}", "two words", "-"])
def test_a_name_that_cannot_stand_in_an_address_is_refused(folder: Path, name: str) -> None:
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(description | {"name": name}))
    write_sums(folder, list(FILES[:3]))
    with pytest.raises(ArtefactError, match=r"model\.json: .* `\$\.name`"):
        read_artefact(folder, "fp32")


def test_an_unknown_variant_is_refused_with_those_there_are(folder: Path) -> None:
    with pytest.raises(ArtefactError, match="has no variant «int4»; it has "):
        read_artefact(folder, "int4")


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b'{"name": "\xff"}'], ids=["not UTF-8", "deep", "name"])
def test_what_is_no_json_is_refused_by_name(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    write_sums(folder, ["model.json", "model.onnx"])
    with pytest.raises(ArtefactError, match=r"model\.json"):
        read_artefact(folder, "fp32")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("schema_version", 2, "schema_version is 2"),
        ("positive", "CAT", "«CAT»"),
        ("labels", ["ONE"], "labels"),
        ("prior", 1.5, "prior"),
        ("thresholds", {"screening": 0.6, "balanced": 0.5, "rule_in": 0.7}, "screening"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(folder: Path, key: str, value: object, reason: str) -> None:
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**description, key: value}))
    write_sums(folder, ["model.json", "model.onnx"])
    with pytest.raises(ArtefactError, match=reason):
        read_artefact(folder, "fp32")
