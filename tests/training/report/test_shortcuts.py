"""The shortcut audit: it finds what is planted, and is silent where there is nothing."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, encode, grey
from training.config import ConfigError, Data
from training.data import phantoms, properties, scan
from training.data.manifest import Record
from training.data.properties import Table
from training.report import matched, shortcuts
from training.report.shortcuts import Shortcut

SHARED = ROOT.parent / "shared/data"
DOCUMENTED = {  # of shared/data/README.md: the first from full_size.csv, the others from pixels
    "quantisation_sum": (0.999, 0.01), "bytes_per_pixel": (0.999, 0.01), "short_side": (0.907, 0.01), "height": (0.907, 0.01),
    "width": (0.866, 0.01), "aspect": (0.852, 0.01), "sharpness": (0.872, 0.03), "dark_border": (0.723, 0.03),
    "contrast": (0.683, 0.03), "mean": (0.525, 0.03),
}  # fmt: skip


def found_in(table: Table, records: list[Record], truth: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, Shortcut]:
    return {one.name: one for one in shortcuts.find(table, truth, [record.patient for record in records])}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    folder = tmp_path_factory.mktemp("drawn")
    phantoms.write_data_set(folder, 200)
    return folder, scan.scan_readable(Data(folder=str(folder))).records


def test_it_is_silent_on_phantoms_with_shuffled_labels(drawn: tuple[Path, list[Record]]) -> None:
    folder, records = drawn
    truth = np.random.default_rng(0).permutation([record.label == "PNEUMONIA" for record in records])
    found = found_in(properties.measure_all(folder, records), records, truth)
    assert [one for one in found.values() if one.tells] == []
    assert shortcuts.advice(found.values()) == "no property of the files clearly tells the label: no interval lies above 0.6"


def test_a_compression_that_differs_by_label_is_found_first(tmp_path: Path) -> None:
    for index in range(60):
        path = tmp_path / ("NORMAL", "PNEUMONIA")[index % 2] / f"{index}.jpeg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(grey(200, 160, seed=index), "JPEG", quality=(95, 60)[index % 2]))
    records = scan.scan_readable(Data(folder=str(tmp_path))).records
    truth = np.array([record.label == "PNEUMONIA" for record in records])
    found = found_in(properties.measure_all(tmp_path, records), records, truth)
    assert found["quantisation_sum"].auroc == found["bytes"].auroc == 1
    assert "quantisation_sum" in shortcuts.advice(found.values())
    assert "width" not in found  # the same for all
    assert not found["mean"].tells


@pytest.mark.parametrize("quality", [20, 75, 95])
def test_the_quality_is_read_from_the_sum_of_the_table(quality: int) -> None:
    measured = properties.measure(encode(grey(64, 64), "JPEG", quality=quality))
    assert properties.jpeg_quality(float(measured["quantisation_sum"])) == quality


def test_a_table_replaces_and_adds_properties_by_file_name(drawn: tuple[Path, list[Record]], tmp_path: Path) -> None:
    folder, records = drawn
    names = [Path(record.path).name for record in records]
    rows = (f"{name},x,{200 + at},100,1000,{'ab'[at % 2]}" for at, name in enumerate(names[1:]))
    lines = ["file,label,width,height,bytes,scanner", *rows]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    table = properties.measure_all(folder, records, str(tmp_path / "table.csv"))
    assert np.isnan([table[name][0] for name in ("width", "scanner", "short_side")]).all()  # no line in the table
    assert (table["width"][2], table["short_side"][2], table["aspect"][2], table["scanner"][2]) == (201, 100, 2.01, 1)
    assert "label" not in table


@pytest.mark.parametrize(("content", "words"), [("name,width\na,1", "column «file»"), ("file,width\nother,1", "names none of")])
def test_a_table_that_cannot_be_joined_is_refused(
    drawn: tuple[Path, list[Record]], tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(ConfigError, match=words):
        properties.measure_all(*drawn, str(tmp_path / "table.csv"))


# Reading all of them takes minutes on a cold disk; the figures of every third one differ by chance.
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real X-rays beside the project")
@pytest.mark.parametrize(("every", "chance"), [(3, 0.02), pytest.param(1, 0, marks=pytest.mark.torture)])
def test_it_reproduces_what_is_known_of_the_kermany_originals(tmp_path: Path, every: int, chance: float) -> None:
    for path in sorted((SHARED / "full_size").glob("*/*.jpeg"))[::every]:
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).symlink_to(path)
    records = scan.scan_readable(Data(folder=str(tmp_path))).records
    table = properties.measure_all(tmp_path, records, str(SHARED / "full_size.csv"))
    found = found_in(table, records, np.array([record.label == "PNEUMONIA" for record in records]))
    for name, (auroc, tolerance) in DOCUMENTED.items():
        assert found[name].auroc == pytest.approx(auroc, abs=tolerance + chance), name
    assert found[shortcuts.PIXELS_TOGETHER].auroc > 0.89 - chance


def test_a_model_that_follows_a_property_is_found_out_and_one_that_does_not_is_not() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(2000) < 0.5
    brightness, disease = truth + rng.normal(0, 0.7, 2000), 2 * truth + rng.normal(0, 1, 2000)
    table, patients = {"mean": brightness, "bytes": rng.normal(0, 1, 2000)}, [str(index // 2) for index in range(2000)]
    follower, reader = (matched.measure(table, truth, 1 / (1 + np.exp(-shown)), patients) for shown in (brightness, disease))
    assert min(follower["follows"]["mean"]) > 0.99
    assert max(map(abs, reader["follows"]["mean"])) < 0.1
    assert follower["matched"]["plain_auroc"] > 0.8 > 0.6 > follower["matched"]["auroc"]["value"]
    assert reader["matched"]["auroc"]["value"] == pytest.approx(reader["matched"]["plain_auroc"], abs=0.03)
    low, high = reader["matched"]["auroc"]["interval"]
    assert low < reader["matched"]["auroc"]["value"] < high
    assert all(100 < images < 1000 for images in reader["matched"]["effective_images"])
    assert reader["matched"]["greatest_property_auroc"] <= matched.MATCHED


def test_images_are_drawn_so_that_properties_no_longer_tell_the_label_where_that_can_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(1000) % 2 == 1
    width, apart = truth + rng.normal(0, 0.7, 1000), truth * 100 + rng.normal(0, 1, 1000)
    height = np.where(np.arange(1000) < 600, apart, np.nan)  # known of 600, of which both labels have nothing in common
    weights = matched.sampling_weights({"width": width, "height": height}, truth)
    assert np.array_equal(weights[:600], np.ones(600))
    assert [weights[600:][truth[600:] == label].mean() for label in (True, False)] == pytest.approx([1, 1])
    assert matched.told(width[600:], truth[600:], np.ones(400)) > 0.8
    assert matched.told(width[600:], truth[600:], weights[600:]) <= matched.MATCHED
    assert "600 images are drawn as they come" in capsys.readouterr().out


def test_labels_whose_properties_do_not_overlap_cannot_be_matched() -> None:
    truth = np.arange(100) % 2 == 1
    found = matched.measure({"width": truth * 100.0 + np.arange(100) % 7}, truth, np.linspace(0.1, 0.9, 100), ["p"] * 100)
    assert found["matched"] is None


def test_what_is_known_of_no_image_hides_none_of_them_and_of_one_label_alone_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    truth, values, unknown = np.arange(200) % 2 == 1, rng.normal(size=200), np.full(200, np.nan)
    probability, patients = np.clip(0.5 + 0.3 * truth + 0.1 * rng.normal(size=200), 0, 1), [str(at) for at in range(200)]
    alone, beside = (
        matched.measure(table, truth, probability, patients)
        for table in ({"width": values}, {"width": values, "mode": unknown})
    )
    assert alone == beside and alone["images"] == 200
    one_label = {"width": np.where(truth, values, np.nan)}
    assert matched.measure(one_label, truth, probability, patients) == {"images": 100, "follows": {}, "matched": None}
