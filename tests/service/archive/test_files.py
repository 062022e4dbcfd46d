"""Which files a folder, a file or a glob names."""

import os
from pathlib import Path

import numpy as np
import pytest

from service.archive.files import NoFiles, find, written
from tests.conftest import dicom_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ["a.PNG", "b/c.jpeg", "b/d/e.jpg", "b/d/notes.txt", "b/.hidden.png", ".git/f.png", "g.dcm/h.dicom", "[1]/i.png"]
    for name in names:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "tree/b/1.2.840.113619").write_bytes(dicom_of(np.zeros((40, 40), np.uint8)))
    (tmp_path / "tree/b/DICOMDIR").write_bytes(dicom_of(np.zeros((40, 40), np.uint8)))
    return tmp_path / "tree"


def test_a_folder_names_what_may_be_an_image_at_any_depth_sorted(tree: Path) -> None:
    assert list(find(str(tree))) == ["[1]/i.png", "a.PNG", "b/1.2.840.113619", "b/c.jpeg", "b/d/e.jpg", "g.dcm/h.dicom"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.PNG", ["a.PNG"]),
        ("**/*.jp*g", ["b/c.jpeg", "b/d/e.jpg"]),
        ("b/*/e.jpg", ["d/e.jpg"]),
        ("*/*.jpeg", ["b/c.jpeg"]),
        ("b/**", ["1.2.840.113619", "DICOMDIR", "c.jpeg", "d/e.jpg", "d/notes.txt"]),
        ("**/d/**/*.jpg", ["b/d/e.jpg"]),
        ("b//./d/../?.jpeg", ["c.jpeg"]),
        ("b/[cx].jpeg", ["c.jpeg"]),
        ("a.PNG", ["a.PNG"]),
        ("[1]/i.png", ["i.png"]),  # a file that is there is no glob
        ("[1]", ["i.png"]),
    ],
)
def test_a_glob_is_read_as_shells_read_it(tree: Path, pattern: str, names: list[str]) -> None:
    found = find(f"{tree}/{pattern}")
    assert list(found) == names
    assert all(Path(path).exists() for path in found.values())


def test_what_is_relative_to_here_is_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "b")
    assert list(find("*.jpeg")) == ["c.jpeg"]
    assert find("c.jpeg") == {"c.jpeg": str(tree / "b/c.jpeg")}
    assert "c.jpeg" in find(".")
    assert "b/c.jpeg" in find("..")


@pytest.mark.parametrize("images", ["nowhere", "nowhere/*.png", "*.gif", "b/d/*.png", ""])
def test_nothing_to_read_is_an_error_that_names_it(tree: Path, images: str) -> None:
    (tree / "b/d/e.jpg").unlink()
    with pytest.raises(NoFiles, match=r"nowhere|gif|b/d|no images"):
        find(f"{tree}/b/d" if images == "" else f"{tree}/{images}")


def test_links_to_files_are_read_and_links_to_folders_followed_only_by_name(tree: Path) -> None:
    (tree / "b/link.png").symlink_to(tree / "a.PNG")
    (tree / "b/broken.png").symlink_to(tree / "nothing")
    (tree / "b/loop").symlink_to(tree)
    (tree / "b/itself.png").symlink_to("itself.png")
    names = list(find(str(tree)))
    assert {"b/link.png", "b/broken.png", "b/itself.png"} < set(names)
    assert not any("loop" in name for name in names)
    assert list(find(f"{tree}/b/loop/*.PNG")) == ["a.PNG"]
    assert list(find(f"{tree}/b/l*p/*.PNG")) == ["loop/a.PNG"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "b")
    for _ in range(20):  # 5,000 characters: no system takes such a path
        Path("n" * 250).mkdir()
        os.chdir("n" * 250)
    Path("lost.png").touch()
    names = list(find(str(tree)))
    assert any(name.startswith("b/nnn") for name in names)
    assert "b/c.jpeg" in names


def test_a_link_to_a_folder_serves_as_one(tree: Path) -> None:
    (tree / "b/loop").symlink_to(tree / "b/d")
    assert list(find(f"{tree}/b/loop")) == ["e.jpg"]


def test_names_become_text_and_no_two_the_same() -> None:
    names = [
        b"x.png",
        "ü\n,\"'.png".encode(),
        b"\xff.png",
        rb"\xff.png",
        rb"\\xff.png",
        b"\\\xff.png",
        rb"dir\file.png",
        b"\xfe",
    ]
    texts = [written(os.fsdecode(name)) for name in names]
    assert texts[:3] == ["x.png", "ü\n,\"'.png", r"\xff.png"]
    assert texts[6] == r"dir\file.png"
    assert len(set(texts)) == len(names)
    assert all(text.encode() for text in texts)
