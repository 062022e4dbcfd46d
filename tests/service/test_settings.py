import pytest

from service.errors import SettingError
from service.settings import Settings, read_settings


def test_nothing_set_gives_the_defaults() -> None:
    assert read_settings({"PATH": "/bin"}) == Settings()


def test_a_setting_is_read_by_its_name() -> None:
    assert read_settings({"MEDXFER_PORT": "9000"}).port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEDXFER_HOST", ""),
        ("MEDXFER_PORT", "0"),
        ("MEDXFER_PORT", "65536"),
        ("MEDXFER_PORT", "http"),
        ("MEDXFER_MODEL", ""),
        ("MEDXFER_VARIANT", ""),
        ("MEDXFER_LANES", "-1"),
        ("MEDXFER_MAX_BATCH_SIZE", "0"),
        ("MEDXFER_QUEUE_LIMIT", "0"),
        ("MEDXFER_DEADLINE_MS", "9"),
        ("MEDXFER_MAX_BODY_BYTES", "999"),
        ("MEDXFER_DRAIN_SECONDS", "0"),
        ("MEDXFER_LOG_LEVEL", "loud"),
        ("MEDXFER_CORS_ORIGIN", "https://a.org/page"),
        ("MEDXFER_CORS_ORIGIN", "*"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name}='{value}'"):
        read_settings({name: value})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("MEDXFER_PORT", "abc", "a whole number from 1 to 65,535"),
        ("MEDXFER_LOG_LEVEL", "INFO", "one of debug, info, warning, error"),
        ("MEDXFER_HOST", "a..b", "an address or a host name"),
        ("MEDXFER_HOST", "", "a text that is not empty"),
    ],
)
def test_what_is_allowed_is_said(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingError, match=f"{name}='{value}': must be {wanted}"):
        read_settings({name: value})


def test_a_misspelt_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingError, match=r"MEDXFER_LANE: no such setting; .*MEDXFER_LANES"):
        read_settings({"MEDXFER_LANE": "2"})


@pytest.mark.parametrize("value", ["two words", "ends with a line\n", "é"])
def test_a_wrong_token_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(SettingError, match="MEDXFER_TOKEN=…: must be printable ASCII"):
        read_settings({"MEDXFER_TOKEN": value})


def test_an_origin_that_ends_with_a_line_is_refused() -> None:
    with pytest.raises(SettingError, match="MEDXFER_CORS_ORIGIN"):
        read_settings({"MEDXFER_CORS_ORIGIN": "https://a.org\n"})


def test_a_queue_too_small_for_one_body_is_refused() -> None:
    with pytest.raises(SettingError, match="MEDXFER_QUEUE_BYTES=1000: must be at least MEDXFER_MAX_BODY_BYTES, 20,000,000"):
        read_settings({"MEDXFER_QUEUE_BYTES": "1000"})
