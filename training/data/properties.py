"""Properties of image files that are no anatomy: compression, size, shape, exposure, borders.
A network can learn one of them in place of the disease, where it tells the label; `report/shortcuts.py` looks for those.
"""

import csv
import io
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from scipy.stats import norm, rankdata

from service.images.decode import decode_image
from training import config
from training.config import CPUS, ConfigError
from training.data.manifest import Record
from training.progress import track

DARK, BLACK, WHITE = 20, 0, 255  # grey levels
BORDER = 16  # the border is as wide as this part of the short side
CORNER = 6  # a corner is as wide and high as this part of each side
EDGE = 60  # grey levels between neighbours, as at the edge of a letter; tissue has hardly any
JOINED_BY = "file"  # the column of a table of properties that names the file
NOT_PROPERTIES = {JOINED_BY, "label"}
REACHES_THE_NETWORK = set(get_args(config.Property))

Properties: TypeAlias = dict[str, float | str]
Table: TypeAlias = dict[str, npt.NDArray[np.float64]]  # by property, its value [N] for each image; NaN where it is unknown


def measure_all(folder: Path, records: Sequence[Record], joined: str = "") -> Table:
    """The properties of each image. `joined`: a CSV file with further ones, by file name, which replace those of the same
    name: where the images were compressed again, it tells what they were. Raises ConfigError if it cannot be joined."""
    paths = [folder / record.path for record in records]
    with ThreadPoolExecutor(CPUS) as pool:
        futures = [pool.submit(lambda path: measure(path.read_bytes()), path) for path in paths]
        rows = [future.result() for future in track(futures, "properties")]
    if joined:
        further = read_table(Path(joined))
        if not any(path.name in further for path in paths):
            raise ConfigError(f"data.properties = «{joined}»: names none of the {len(paths):,} images of {folder}")
        columns = dict.fromkeys(name for found in further.values() for name in found)
        rows = [row | dict.fromkeys(columns, "") | further.get(path.name, {}) for row, path in zip(rows, paths, strict=True)]
        rows = [row | _of_size(row) for row in rows]
    return {name: _as_numbers([row[name] for row in rows]) for name in dict.fromkeys(name for row in rows for name in row)}


def measure(content: bytes) -> Properties:
    """The properties of one JPEG, PNG or DICOM file that can be decoded."""
    decoded = decode_image(content)
    grey, (width, height) = decoded.grey.astype(np.float64), decoded.size
    margin = max(1, min(grey.shape) // BORDER)
    border = np.ones(grey.shape, np.bool_)
    border[margin:-margin, margin:-margin] = False
    high, wide = (max(2, side // CORNER) for side in grey.shape)
    steps = np.abs(np.diff(grey, axis=1))
    ends = itertools.product((slice(high), slice(-high, None)), (slice(wide), slice(-wide, None)))
    size: Properties = {"width": width, "height": height, "bytes": len(content)}
    return {
        **_of_file(content),
        **size,
        **_of_size(size),
        "mean": float(grey.mean()),
        "contrast": float(grey.std()),
        "sharpness": float(steps.mean()),
        "dark_border": float((grey[border] < DARK).mean()),
        "black": float((grey == BLACK).mean()),
        "white": float((grey == WHITE).mean()),
        "corner_edges": float(np.mean([(steps[rows, columns] > EDGE).mean() for rows, columns in ends])),
    }


def read_table(path: Path) -> dict[str, Properties]:
    """Reads a CSV file with a column `file`. Raises ConfigError if it has none, or cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"data.properties = «{path}»: cannot be read ({error})") from error
    if not rows or JOINED_BY not in rows[0]:
        raise ConfigError(f"data.properties = «{path}»: needs a column «{JOINED_BY}» and at least one line")
    return {row[JOINED_BY]: {name: value for name, value in row.items() if name not in NOT_PROPERTIES} for row in rows}


def jpeg_quality(quantisation_sum: float) -> int:
    """The quality from 1 to 95 with which Pillow's JPEGs have the nearest `quantisation_sum`."""

    def distance(quality: int) -> float:
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        return abs(_quantisation_sum(Image.open(buffer)) - quantisation_sum)

    return min(range(1, 96), key=distance)


def normal_scores(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The ranks of `values` [N], as the quantiles of a normal distribution: outliers then count no more than others."""
    return np.asarray(norm.ppf((rankdata(values) - 0.5) / len(values)))


def _of_file(content: bytes) -> Properties:
    """What the file says of itself."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            exif = len(image.info.get("exif", b""))
            sums = {"quantisation_sum": _quantisation_sum(image), "exif_bytes": exif}
            return {"format": image.format or "", "mode": image.mode, **sums}
    except UnidentifiedImageError:
        return {"format": "DICOM", "mode": "DICOM", "quantisation_sum": 0, "exif_bytes": 0}


def _quantisation_sum(image: Image.Image) -> int:
    """That of a JPEG's luminance table: large for a low quality. 0 for other files."""
    return sum(getattr(image, "quantization", {}).get(0, []))


def _of_size(row: Properties) -> Properties:
    """What follows from width, height and bytes; empty where they are unknown."""
    if "" in (row["width"], row["height"], row["bytes"]):
        return {"short_side": "", "aspect": "", "bytes_per_pixel": ""}
    width, height, size = (float(row[name]) for name in ("width", "height", "bytes"))
    return {"short_side": min(width, height), "aspect": width / height, "bytes_per_pixel": size / (width * height)}


def _as_numbers(values: Sequence[float | str]) -> npt.NDArray[np.float64]:
    """Texts that are no numbers become the positions of their kinds, in alphabetical order."""
    try:
        return np.array([np.nan if value == "" else float(value) for value in values])
    except ValueError:
        kinds = sorted({str(value) for value in values if value != ""})
        return np.array([np.nan if value == "" else kinds.index(str(value)) for value in values], np.float64)
