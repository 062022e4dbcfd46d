import os
from pathlib import Path

import numpy as np
import pytest

from service.archive import files
from service.archive.files import utf8_name
from service.errors import ArchiveError
from tests.conftest import dicom_of, encode, grey
from tests.service.archive.conftest import fill

FILES = ["a.PNG", "b/c.jpeg", "b/d/e.jpg", "b/d/notes.txt", "b/.hidden.png", ".git/f.png", "g.dcm/h.dicom", "[1]/i.png"]
LINKS = {"link.png": "../a.PNG", "broken.png": "nothing", "itself.png": "itself.png", "loop": "..", "d2": "d"}


def find(images: str) -> dict[str, str]:
    return files.find(images)[0]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    dicom = dict.fromkeys(["b/1.2.840.113619", "b/DICOMDIR"], dicom_of(np.zeros((40, 40), np.uint8)))
    tree = fill(tmp_path / "tree", dict.fromkeys(FILES, b"x") | dicom)
    for name, target in LINKS.items():
        (tree / "b" / name).symlink_to(target)
    return tree


def test_folders_are_searched_at_any_depth_and_globs_read_as_by_shells(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        "": "[1]/i.png a.PNG b/1.2.840.113619 b/broken.png b/c.jpeg b/d/e.jpg b/itself.png b/link.png g.dcm/h.dicom",
        "*.PNG": "a.PNG",
        "a.PNG": "a.PNG",
        "b/[cx].jpeg": "c.jpeg",
        "b/*/e.jpg": "d/e.jpg d2/e.jpg",
        "**/*.jp*g": "b/c.jpeg b/d/e.jpg",
        "**/d/**/*.jpg": "b/d/e.jpg",
        "b/**": "1.2.840.113619 DICOMDIR broken.png c.jpeg d/e.jpg d/notes.txt itself.png link.png",
        "b//./d/../?.jpeg": "c.jpeg",
        "[1]/i.png": "i.png",  # what exists is not a glob
        "[1]": "i.png",
        "b/loop/*.PNG": "a.PNG",  # links to folders are followed only by name
        "b/l*p/*.PNG": "loop/a.PNG",
        "b/i*.png": "itself.png",
        "b/d2": "e.jpg",
        "b/d/..": "1.2.840.113619 broken.png c.jpeg d/e.jpg itself.png link.png",
    }
    found = {pattern: find(f"{tree}/{pattern}") for pattern in expected}
    assert {pattern: " ".join(files) for pattern, files in found.items()} == expected
    assert all(os.path.lexists(path) for files in found.values() for path in files.values())
    monkeypatch.chdir(tree)
    assert {pattern: find(pattern or ".") for pattern in expected} == found


@pytest.mark.parametrize("images", ["{}/nowhere", "{}/nowhere/*.png", "{}/*.gif", "{}/b/d/*.png", "{}/empty", ""])
def test_no_files_are_an_error_that_names_the_argument(tree: Path, images: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(ArchiveError) as error:
        find(images.format(tree))
    assert str(error.value).startswith(f"{images.format(tree)!r}: ")


def test_a_folder_that_cannot_be_read_is_listed_itself(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "b")
    for _ in range(20):  # 5,000 characters: no system takes such a path
        Path("n" * 250).mkdir()
        os.chdir("n" * 250)
    Path("lost.png").touch()
    names = list(find(str(tree)))
    assert any(name.startswith("b/nnn") for name in names)
    assert "b/c.jpeg" in names


def test_images_are_told_by_content_too_and_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    image, dicom = encode(grey(40, 40)), dicom_of(grey(40, 40))
    read = {"a.jfif": b"x", "b.JPE": b"x", "scan": encode(grey(40, 40), "JPEG"), "c.bak": image, "bare": dicom[132:]}
    passed = {"d.dcm.gz": b"x", "e.DCM.GZ": b"x", "f.txt": b"x", "notes": b"x", "sub/dicomdir": dicom, "g.tif": b"II*\0"}
    found, over = files.find(str(fill(tmp_path / "tree", read | passed)))
    assert set(found) == set(read)
    assert over == {".dcm.gz": 2, ".txt": 1, "without a suffix": 1, "DICOMDIR": 1, ".tif": 1}
    assert files.passed(over).startswith("; 6 files were passed over: 2 × .dcm.gz, ")


def test_names_become_valid_utf8_and_stay_different() -> None:
    assert utf8_name(r"dir\file.png") == r"dir\file.png"
    alike = [b"\xff.png", rb"\xff.png", rb"\\xff.png", b"\\\xff.png", b"\xfe"]
    assert len({utf8_name(os.fsdecode(name)).encode() for name in alike}) == len(alike)
