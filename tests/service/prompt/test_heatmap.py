"""The map at the prompt is the page's: colours, opacity, interpolation and strength."""

import json
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from service.model.prediction import Heatmap
from service.prompt import heatmap
from tests.conftest import ROOT, grey

WEB = ROOT / "service" / "web"
SIDE = 224  # of the map that the page paints
MAP = Heatmap(grid=(3, 4), scale=2.0, values=[[0.0, 0.5, -1.0, 3.0], [0.1, 2.0, -2.0, -0.3], [0.0, 0.0, 1.0, -4.0]])
EVEN = [value / 20 for value in range(-20, 21)]
PROGRAM = """
import { colour, fade, smooth } from "./heatmap.mjs";
const { map, even } = JSON.parse(process.argv[2]);
console.log(JSON.stringify({ colours: even.map(colour), fades: even.map(fade), field: smooth(map) }));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:  # Any: of JSON
    """What the page's own code computes."""
    if shutil.which("node") is None:
        pytest.skip("node is missing")
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(WEB / "viewer/heatmap.js", folder / "heatmap.mjs")
    (folder / "program.mjs").write_text(PROGRAM)
    given = json.dumps({"map": {"values": MAP.values, "scale": MAP.scale}, "even": EVEN})
    printed = subprocess.check_output(["node", "program.mjs", given], cwd=folder, text=True)
    return dict(json.loads(printed))


def test_colours_opacity_and_interpolation_are_those_of_the_page(page: dict[str, Any]) -> None:
    field = np.array(EVEN)
    assert np.abs(heatmap.colours(field) - page["colours"]).max() <= 0.5 + 1e-6  # the page rounds them
    assert np.allclose(heatmap.fade(field), page["fades"])
    assert np.allclose(heatmap.smooth(MAP, SIDE, SIDE), page["field"])


def test_the_strength_is_that_with_which_the_page_begins() -> None:
    [strength] = re.findall(r'id="opacity" min="0" max="90" step="5" value="(\d+)"', (WEB / "index.html").read_text())
    assert int(strength) / 100 == heatmap.STRENGTH


def test_evidence_of_the_scale_has_full_colour_and_no_evidence_leaves_the_image_as_it_is() -> None:
    image = grey(60, 40)
    maps = [Heatmap(grid=(1, 1), scale=2.0, values=[[value]]) for value in (0.0, 2.0, 9.0, -2.0)]
    none, scale, more, against = (heatmap.draw(image, each).astype(float) for each in maps)
    assert (none == image[..., None]).all()
    assert (scale == more).all()
    for drawn, t in ((scale, 1.0), (against, -1.0)):
        expected = (1 - heatmap.STRENGTH) * image[..., None] + heatmap.STRENGTH * heatmap.colours(np.array(t))
        assert np.abs(drawn - expected).max() <= 0.5
    assert (scale[..., 0] > scale[..., 2]).all() and (against[..., 2] > against[..., 0]).all()  # orange, blue
