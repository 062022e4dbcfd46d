"""Reads configurations: TOML files and the presets in `configs`, each over its `base`."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta
from msgspec.structs import fields

from training.config import Config, ConfigError, Section

PRESETS = Path(__file__).parent / "configs"

Tables: TypeAlias = dict[str, Any]  # Any: as TOML has it


class File(Config, frozen=True, kw_only=True):
    """A TOML file: keys of a configuration, over those of `base`, a preset's name or a path relative to the file."""

    base: Annotated[str, Meta(min_length=1)] | None = None


SECTIONS: dict[str, type[Section]] = {
    field.name: field.type for field in fields(Config) if isinstance(field.type, type) and issubclass(field.type, Section)
}
KEYS = [field.name for field in fields(File)] + [f"{name}.{key.name}" for name in SECTIONS for key in fields(SECTIONS[name])]


def load(name: Path) -> Config:
    """Reads a TOML file, or the preset of that name, over its `base`. Raises ConfigError if there is neither, or if a file is
    not TOML, has an unknown key, has a value out of range, or is its own base."""
    return msgspec.convert(_merged([_path_of(name)], str(name)), Config)


def presets() -> str:
    return ", ".join(sorted(path.stem for path in PRESETS.glob("*.toml")))


def _path_of(name: Path | str, folder: Path = Path()) -> Path:
    """The preset of that name, unless the folder has such a file."""
    preset, path = PRESETS / f"{name}.toml", folder / name
    return preset if preset.exists() and not path.is_file() else path


def _merged(chain: list[Path], named: str) -> Tables:
    """The tables of the last file, over those of its base. The files before it in `chain` are based on it. `named`: as the
    user names it."""
    file = chain[-1]
    values = _read(file, named)
    base = values.pop("base", None)
    if base is None:
        return values
    chain, named = [*chain, _path_of(base, file.parent)], f"{file}: base = «{base}»"
    if chain[-1].resolve() in [path.resolve() for path in chain[:-1]]:
        raise ConfigError(f"configuration {named} leads back: {' → '.join(map(str, chain))}")
    return _over(_merged(chain, named), values)


def _read(file: Path, named: str) -> Tables:
    """The tables of one file, which is valid by itself, so that an error names the file that has it."""
    try:
        values = tomllib.loads(file.read_text("utf-8"))
        _check_keys(values)
        msgspec.convert(values, File)
    except OSError as error:
        raise ConfigError(f"configuration {named}: {error.strerror}; the presets are {presets()}") from error
    except ValueError as error:  # of TOML, UTF-8 and msgspec
        message = re.sub(r"(.*) - at `\$\.?(.*)`", r"\2: \1", str(error))
        raise ConfigError(f"configuration {file}: {message}; training/config.py explains every key") from error
    return values


def _check_keys(values: Tables) -> None:
    """Raises ValueError for a key that there is not, and names the one that may be meant."""
    for name, value in values.items():
        of_section = isinstance(value, dict) and (name in SECTIONS or name not in KEYS)
        for key in ([f"{name}.{each}" for each in value] or [name]) if of_section else [name]:
            if key not in KEYS:
                near = difflib.get_close_matches(key, KEYS, 1)
                raise ValueError(f"there is no key {key}" + "".join(f"; {each} may be meant" for each in near))


def _over(base: Tables, values: Tables) -> Tables:
    """`values`, and what they leave out of `base`, table by table."""
    merged = base | values
    for name in base.keys() & values.keys():
        if isinstance(base[name], dict):
            merged[name] = _over(base[name], values[name])
    return merged
