"""What is read of the files in a data folder, and of a table beside them."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from pyarrow import Table, parquet

from tests.conftest import DEFAULT_MODEL, dicom_of, encode, grey
from training.config import Data, data_at
from training.data import manifest, scan
from training.data.manifest import DataError, Record
from training.graph import model_folder

IMAGES = [encode(grey(64, 64, seed=seed)) for seed in range(4)]
IMAGE, OTHER = IMAGES[:2]


def write(folder: Path, files: dict[str, bytes]) -> Data:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return Data(folder=str(folder))


def labelled(data: Data) -> list[Record]:
    return scan.scan_labelled(data, model_folder.description_of(DEFAULT_MODEL)).records


def test_bad_files_are_recorded_with_their_problems_and_folders_of_other_programs_are_no_labels(tmp_path: Path) -> None:
    names = ["NORMAL/cut.png", "NORMAL/text.jpeg", "PNEUMONIA/b.png", ".ipynb_checkpoints/x.png", "__MACOSX/x.png"]
    write(tmp_path / "train", dict(zip(names, [IMAGE[:-40], b"hello", IMAGE, IMAGE, IMAGE], strict=True)))
    data = write(tmp_path, {"train/NORMAL/scan.tif": b"II*", "train/Thumbs.db": b"", "train/x.png": IMAGE})
    os.mkfifo(tmp_path / "train/NORMAL/pipe.jpeg")
    found = scan.scan(data)
    problems = {record.path.removeprefix("train/"): record.problem for record in found.records}
    assert problems.pop("NORMAL/cut.png").startswith("the image is damaged")
    assert problems.pop("NORMAL/text.jpeg").startswith("the content is neither")
    assert problems == {"NORMAL/pipe.jpeg": "not a file", "PNEUMONIA/b.png": ""}
    assert found.passed_over == {"hidden": 3, ".tif": 1, "images in no label's folder": 1}


def test_a_line_about_an_image_that_is_not_there_takes_none_of_the_same_name(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": IMAGE, "p1/2.png": OTHER, "p3/3.png": IMAGES[2]})
    lines = ["path,label,patient", "1.png,x,P1", "p1/2.png,y,P2", "p9/1.png,y,P9", "p9/2.png,x,P9", "gone/p3/3.png,y,P3"]
    (tmp_path / "my.csv").write_text("\n".join(lines))
    found = scan.find(data_at(tmp_path / "my.csv"))
    assert [(file.path, file.label, file.patient) for file in found.files] == [
        ("1.png", "x", "P1"), ("p1/2.png", "y", "P2"), ("p3/3.png", "y", "P3"),
    ]  # fmt: skip
    assert list(found.passed_over.values()) == [2]


def test_what_parquet_leaves_open_is_empty_and_its_lists_are_several_labels(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": IMAGE, "b.png": OTHER})
    lines = {"path": ["a.png", b"b.png".decode()], "label": [["x", "y"], ["z"]], "patient": [7.5, float("nan")]}
    parquet.write_table(Table.from_pydict(lines), tmp_path / "my.parquet")
    files = scan.find(data_at(tmp_path / "my.parquet")).files
    assert [(file.label, file.patient) for file in files] == [("x|y", "7.5"), ("z", "")]


def test_a_damaged_dicom_file_is_recorded_wherever_it_ends(tmp_path: Path) -> None:
    whole = dicom_of(grey(64, 64))
    names = {f"NORMAL/{end}.dcm": whole[:end] for end in (132, 152, 300, 522, 700)}
    records = scan.scan(write(tmp_path, names | {"PNEUMONIA/whole.dcm": whole})).records
    assert [bool(record.problem) for record in records] == [True] * 5 + [False]


def test_splits_below_the_labels_are_refused_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the split is below the label in N/test/a\.png; put test/ above the labels"):
        scan.scan(write(tmp_path, {"N/test/a.png": IMAGE, "N/train/b.png": IMAGE, "P/train/c.png": OTHER}))


@pytest.mark.parametrize(("positive", "names"), [(("a", "b", "other"), None), (("a",), ("X", "x")), (("a",), (" ", "b"))])
def test_two_answers_need_two_names(tmp_path: Path, positive: tuple[str, ...], names: tuple[str, str] | None) -> None:
    data = write(tmp_path, {f"{label}/a.png": IMAGE for label in ("a", "b", "other", "c", "d", "e")})
    with pytest.raises(DataError, match=r"the two answers would be called .*; data\.names names them otherwise"):
        scan.scan(replace(data, positive=positive, names=names))


def test_a_link_back_to_a_folder_above_it_is_not_followed_for_ever(tmp_path: Path) -> None:
    data = write(tmp_path, {"NORMAL/a.png": IMAGE, "PNEUMONIA/b.png": OTHER})
    (tmp_path / "NORMAL/all").symlink_to(tmp_path)
    assert [record.path for record in scan.scan(data).records] == ["NORMAL/a.png", "PNEUMONIA/b.png"]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path, {"train/NORMAL/a.png": IMAGE, "train/PNEUMONIA/b.png": IMAGE})
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "train/NORMAL") + b"/\xff.jpeg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match=r"xff\.jpeg': the name is not UTF-8"):
        scan.scan(data)


def test_dicom_files_are_images_too(tmp_path: Path) -> None:
    data = write(tmp_path, {path: dicom_of(grey(1000, 900)) for path in ("train/NORMAL/a.dcm", "train/PNEUMONIA/b.DICOM")})
    records = scan.scan(data).records
    assert [(record.problem, record.width, record.height) for record in records] == [("", 1000, 900)] * 2
    assert manifest.read_image(tmp_path, records[0]).shape == (450, 500)


def test_images_for_a_finished_model_must_be_readable_and_have_its_labels(tmp_path: Path) -> None:
    data = write(tmp_path, {"normal/a.png": IMAGE, "Pneumonia/b.png": OTHER})
    assert [(record.path, record.label) for record in labelled(data)] == [
        ("Pneumonia/b.png", "PNEUMONIA"),
        ("normal/a.png", "NORMAL"),
    ]
    write(tmp_path, {"normal/text.jpeg": b"hello"})
    with pytest.raises(DataError, match=r"normal/text\.jpeg: the content is neither"):
        labelled(data)
    (tmp_path / "normal/text.jpeg").unlink()
    write(tmp_path, {"normal/again.png": OTHER})
    with pytest.raises(DataError, match=r"has the same bytes as Pneumonia/b\.png; remove one"):
        labelled(data)
    (tmp_path / "normal/again.png").unlink()
    write(tmp_path, {"COVID/c.png": IMAGES[2]})
    with pytest.raises(DataError, match=r"its labels are COVID, Pneumonia, normal.*it does not know COVID"):
        labelled(data)


def test_a_table_without_labels_tells_the_patients_of_images_in_folders(tmp_path: Path) -> None:
    data = write(tmp_path, {"NORMAL/a.png": IMAGE, "PNEUMONIA/b.png": OTHER})
    (tmp_path / "labels.csv").write_text("file,patient_id,age\nNORMAL/a.png,7,3\nPNEUMONIA/b.png,8,4\n")
    assert [record.patient for record in labelled(data)] == ["7", "8"]
    (tmp_path / "labels.csv").write_text("file,patient_id\nNORMAL/a.png,7\n")
    with pytest.raises(DataError, match=r"the table lacks «PNEUMONIA/b\.png»: it needs a line for each image"):
        labelled(data)


def test_a_table_may_name_images_by_the_end_of_their_paths_and_by_several_lines(tmp_path: Path) -> None:
    write(
        tmp_path,
        {f"part {n % 2}/{n}.png": image for n, image in enumerate(IMAGES)} | {"part 1/extra.png": b"", "scan.tif": b""},
    )
    lines = ["Path;LABEL;split;age", "0;a;train;3", "1.png;b;;4", "gone/part 0/2.png;c;Valid;5", "gone/part 0/2.png;b;Valid;5"]
    lines += ["9;a;;1", "3;;;1", "part 9/1.png;a;;1"]  # no such image, no label, and another 1.png than the one that is there
    (tmp_path / "my.csv").write_text("\n".join(lines))
    found = scan.find(data_at(tmp_path / "my.csv"))
    assert [(file.path, file.label, file.split) for file in found.files] == [
        ("part 0/0.png", "a", "train"), ("part 0/2.png", "b|c", "val"), ("part 1/1.png", "b", ""),
    ]  # fmt: skip
    assert sorted(found.passed_over.values()) == [1, 1, 2, 2] and found.passed_over[".tif"] == 1
    records = scan.scan(replace(data_at(tmp_path / "my.csv"), positive=("c",))).records
    assert [record.positive for record in records] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,label\na,b", "has no column «path» or «file», only name, label"),
        ("path,label", "the table has no line"),
        ("path,label\nz.png,b", "no line of the table names an image in .*, as «z.png»"),
        ("path,label,split\na.png,b,never", "the split of «N/a.png» in the table is «never»"),
        ("path,label,Label\nN/a.png,b,c", "the columns «label» and «Label» have the same name"),
        ("path,label,split\nN/a.png,b,train\nN/a.png,b,test", "two lines .* about «N/a.png»: its split is «train» and «test»"),
        ("path,label\nN/\xff.png,b", "cannot be read as a table .*; save it as «CSV UTF-8»"),
        ("path,label\nN/a.png,x\nN/a.png,y", "the table gives «N/a.png» both labels, x and y"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, {"N/a.png": IMAGE, "P/b.png": OTHER})
    (tmp_path / "my.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=words):
        scan.find(data_at(tmp_path / "my.csv"))
