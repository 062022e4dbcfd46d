"""Settings of the service: their defaults, types and allowed ranges. The environment variable of `port` is MEDXFER_PORT."""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from service.errors import SettingError

PREFIX = "MEDXFER_"
AUTO = "auto"
SECRET = "MEDXFER_TOKEN"


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: PREFIX + name.upper()):
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8000
    model: Annotated[str, Meta(min_length=1)] = "models/default"
    variant: Annotated[str, Meta(min_length=1)] = AUTO  # chosen by `service.model.variant`
    processes: Annotated[int, Meta(ge=0, le=64)] = 0  # that share the port; 0: by `machine.processes_for`
    lanes: Annotated[int, Meta(ge=0, le=256)] = 0  # inference threads of all processes; 0: one for each CPU that they may use
    max_batch_size: Annotated[int, Meta(ge=1, le=64)] = 2  # larger batches do not fit the CPU's cache: tests/benchmarks
    queue_limit: Annotated[int, Meta(ge=1, le=10_000)] = 64  # images in work at once; a request above it is answered 429
    queue_bytes: Annotated[int, Meta(ge=1_000, le=100_000_000_000)] = 400_000_000  # bytes of bodies in work, likewise
    deadline_ms: Annotated[int, Meta(ge=10, le=600_000)] = 5_000  # from the arrival of a request to its answer
    max_body_bytes: Annotated[int, Meta(ge=1_000, le=200_000_000)] = 64_000_000  # a DX image of 3520 × 4280 takes 30
    max_images: Annotated[int, Meta(ge=1, le=256)] = 16  # in one batch request
    drain_seconds: Annotated[int, Meta(ge=1, le=600)] = 20  # for open requests to finish after SIGTERM
    watchdog_seconds: Annotated[int, Meta(ge=1, le=3_600)] = 30  # without progress before a thread counts as stuck
    token: Annotated[str, Meta(pattern=r"^[!-~]*\Z", description="printable ASCII without spaces")] = ""  # empty: none needed
    cors_origin: Annotated[
        str, Meta(pattern=r"^(https?://[^/*\s]+)?\Z", description="an origin without a path, such as https://example.org")
    ] = ""  # whose pages may send requests; empty: none
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingError for a value out of range or an unknown name; it names the variable, its value and what is allowed."""
    known = {setting.encode_name for setting in msgspec.structs.fields(Settings)}
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            raise SettingError(f"{name}: no such setting; the settings are {', '.join(sorted(known))}")
    try:
        settings = msgspec.convert(dict(environment), Settings, strict=False)
        settings.host.encode("idna")
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        value = "…" if name == SECRET else repr(environment[name])
        raise SettingError(f"{name}={value}: must be {_allowed(name)}") from error
    except UnicodeError as error:
        raise SettingError(f"{PREFIX}HOST={settings.host!r}: must be an address or a host name") from error
    if settings.queue_bytes < settings.max_body_bytes:
        limit = f"must be at least {PREFIX}MAX_BODY_BYTES, {settings.max_body_bytes:,}"
        raise SettingError(f"{PREFIX}QUEUE_BYTES={settings.queue_bytes}: {limit}")
    return settings


def _allowed(name: str) -> str:
    """Describe the values that a setting's type allows."""
    kind = get_type_hints(Settings, include_extras=True)[name.removeprefix(PREFIX).lower()]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    base, meta = get_args(kind)
    return f"a whole number from {meta.ge:,} to {meta.le:,}" if base is int else meta.description or "a text that is not empty"
