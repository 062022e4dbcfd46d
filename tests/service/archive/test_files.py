"""Which files a folder, a file or a glob names."""

import os
from pathlib import Path

import numpy as np
import pytest

from service.archive.files import find, utf8_name
from service.errors import ArchiveError
from tests.conftest import dicom_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ["a.PNG", "b/c.jpeg", "b/d/e.jpg", "b/d/notes.txt", "b/.hidden.png", ".git/f.png", "g.dcm/h.dicom", "[1]/i.png"]
    contents = dict.fromkeys(names, b"x")
    contents |= dict.fromkeys(["b/1.2.840.113619", "b/DICOMDIR"], dicom_of(np.zeros((40, 40), np.uint8)))
    for name, content in contents.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "tree"


def test_a_folder_names_what_may_be_an_image_at_any_depth_sorted(tree: Path) -> None:
    assert list(find(str(tree))) == ["[1]/i.png", "a.PNG", "b/1.2.840.113619", "b/c.jpeg", "b/d/e.jpg", "g.dcm/h.dicom"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.PNG", ["a.PNG"]), ("a.PNG", ["a.PNG"]), ("*/*.jpeg", ["b/c.jpeg"]), ("b/[cx].jpeg", ["c.jpeg"]),
        ("b/*/e.jpg", ["d/e.jpg"]), ("**/*.jp*g", ["b/c.jpeg", "b/d/e.jpg"]), ("**/d/**/*.jpg", ["b/d/e.jpg"]),
        ("b/**", ["1.2.840.113619", "DICOMDIR", "c.jpeg", "d/e.jpg", "d/notes.txt"]), ("b//./d/../?.jpeg", ["c.jpeg"]),
        ("[1]/i.png", ["i.png"]), ("[1]", ["i.png"]),  # what exists is not a glob
    ],
)  # fmt: skip
def test_a_glob_is_read_as_shells_read_it(tree: Path, pattern: str, names: list[str]) -> None:
    found = find(f"{tree}/{pattern}")
    assert list(found) == names
    assert all(Path(path).exists() for path in found.values())


def test_relative_paths_are_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "b")
    assert list(find("*.jpeg")) == ["c.jpeg"]
    assert find("c.jpeg") == {"c.jpeg": str(tree / "b/c.jpeg")}
    assert "c.jpeg" in find(".")
    assert "b/c.jpeg" in find("..")


@pytest.mark.parametrize("images", ["{}/nowhere", "{}/nowhere/*.png", "{}/*.gif", "{}/b/d/*.png", "{}/empty", ""])
def test_no_files_are_an_error_that_names_the_argument(tree: Path, images: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(ArchiveError) as error:
        find(images.format(tree))
    assert str(error.value).startswith(f"{images.format(tree)!r}: ")


def test_links_to_files_are_read_and_links_to_folders_followed_only_by_name(tree: Path) -> None:
    for name, target in {
        "link.png": "../a.PNG",
        "broken.png": "nothing",
        "itself.png": "itself.png",
        "loop": "..",
        "d2": "d",
    }.items():
        (tree / "b" / name).symlink_to(target)
    names = list(find(str(tree)))
    assert {"b/link.png", "b/broken.png", "b/itself.png"} < set(names)
    assert not any("loop" in name or "d2" in name for name in names)
    assert list(find(f"{tree}/b/loop/*.PNG")) == ["a.PNG"]
    assert list(find(f"{tree}/b/l*p/*.PNG")) == ["loop/a.PNG"]
    assert list(find(f"{tree}/b/i*.png")) == ["itself.png"]
    assert list(find(f"{tree}/b/d2")) == ["e.jpg"]


def test_a_folder_that_cannot_be_read_is_listed_itself(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "b")
    for _ in range(20):  # 5,000 characters: no system takes such a path
        Path("n" * 250).mkdir()
        os.chdir("n" * 250)
    Path("lost.png").touch()
    names = list(find(str(tree)))
    assert any(name.startswith("b/nnn") for name in names)
    assert "b/c.jpeg" in names


def test_names_become_valid_utf8_and_stay_different() -> None:
    names = [b"x.png", "ü\n,\"'.png".encode(), b"\xff.png", rb"dir\file.png"]
    assert [utf8_name(os.fsdecode(name)) for name in names] == ["x.png", "ü\n,\"'.png", r"\xff.png", r"dir\file.png"]
    alike = [b"\xff.png", rb"\xff.png", rb"\\xff.png", b"\\\xff.png", b"\xfe"]
    assert len({utf8_name(os.fsdecode(name)).encode() for name in alike}) == len(alike)
