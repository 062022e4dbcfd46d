"""What an operator may set, each by an environment variable of the same name: `port` is MEDXFER_PORT."""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from service.errors import SettingError

PREFIX = "MEDXFER_"
AUTO = "auto"
SECRET = "MEDXFER_TOKEN"


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: PREFIX + name.upper()):
    """`variant` = auto: by `variant.choose_variant`. `lanes` = 0: as many as this process may use CPUs. `queue_limit`,
    `queue_bytes`: images, and bytes of bodies, in work at once; one more is answered 429. `deadline_ms`: from a request's
    arrival to its answer. `max_images`: of one batch. `drain_seconds`: for open requests after SIGTERM.
    `watchdog_seconds`: after which what makes no progress is stuck. `token`: what clients must bear; `cors_origin`: one
    whose pages may ask; empty, none."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8000
    model: Annotated[str, Meta(min_length=1)] = "models/default"
    variant: Annotated[str, Meta(min_length=1)] = AUTO
    lanes: Annotated[int, Meta(ge=0, le=256)] = 0
    max_batch_size: Annotated[int, Meta(ge=1, le=64)] = 2  # larger ones leave the CPU's cache: tests/benchmarks
    queue_limit: Annotated[int, Meta(ge=1, le=10_000)] = 64
    queue_bytes: Annotated[int, Meta(ge=1_000, le=100_000_000_000)] = 200_000_000
    deadline_ms: Annotated[int, Meta(ge=10, le=600_000)] = 5_000
    max_body_bytes: Annotated[int, Meta(ge=1_000, le=200_000_000)] = 20_000_000
    max_images: Annotated[int, Meta(ge=1, le=256)] = 16
    drain_seconds: Annotated[int, Meta(ge=1, le=600)] = 20
    watchdog_seconds: Annotated[int, Meta(ge=1, le=3_600)] = 30
    token: Annotated[str, Meta(pattern=r"^[!-~]*\Z", description="printable ASCII without spaces")] = ""
    cors_origin: Annotated[
        str, Meta(pattern=r"^(https?://[^/*\s]+)?\Z", description="an origin without a path, such as https://example.org")
    ] = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingError: names the variable, its value and what is allowed; a misspelt one is refused too."""
    known = {setting.encode_name for setting in msgspec.structs.fields(Settings)}
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            raise SettingError(f"{name}: no such setting; there are {', '.join(sorted(known))}")
    try:
        settings = msgspec.convert(dict(environment), Settings, strict=False)
        settings.host.encode("idna")
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        value = "…" if name == SECRET else repr(environment[name])
        raise SettingError(f"{name}={value}: must be {_wanted(name)}") from error
    except UnicodeError as error:
        raise SettingError(f"{PREFIX}HOST={settings.host!r}: must be an address or the name of a host") from error
    if settings.queue_bytes < settings.max_body_bytes:
        raise SettingError(
            f"{PREFIX}QUEUE_BYTES={settings.queue_bytes}: must be at least {PREFIX}MAX_BODY_BYTES, {settings.max_body_bytes:,}"
        )
    return settings


def _wanted(name: str) -> str:
    """What the setting of this variable may be, read from its type."""
    kind = get_type_hints(Settings, include_extras=True)[name.removeprefix(PREFIX).lower()]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    base, meta = get_args(kind)
    return f"a whole number from {meta.ge:,} to {meta.le:,}" if base is int else meta.description or "a text that is not empty"
