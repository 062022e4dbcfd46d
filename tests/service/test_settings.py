import pytest

from service.errors import SettingError
from service.settings import Settings, read_settings

REFUSED = {
    "a text that is not empty": ["HOST=''", "MODEL=''", "VARIANT=''"],
    "an address or a host name": ["HOST='a..b'"],
    "a whole number from 1 to 65,535": ["PORT='0'", "PORT='65536'", "PORT='http'"],
    "a whole number from 0 to 256": ["LANES='-1'"],
    "a whole number from 1 to 64": ["MAX_BATCH_SIZE='0'"],
    "a whole number from 1 to 10,000": ["QUEUE_LIMIT='0'"],
    "a whole number from 10 to 600,000": ["DEADLINE_MS='9'"],
    "a whole number from 1,000 to 200,000,000": ["MAX_BODY_BYTES='999'"],
    "a whole number from 1 to 600": ["DRAIN_SECONDS='0'"],
    "at least MEDXFER_MAX_BODY_BYTES, 64,000,000": ["QUEUE_BYTES=1000"],
    "one of debug, info, warning, error": ["LOG_LEVEL='INFO'"],
    "an origin without a path": ["CORS_ORIGIN='*'", "CORS_ORIGIN='https://a.org/page'", r"CORS_ORIGIN='https://a.org\n'"],
    "printable ASCII": ["TOKEN='two words'", r"TOKEN='ends with a line\n'", "TOKEN='é'"],  # never shown
}


def test_a_setting_is_read_by_its_name_and_the_others_keep_their_defaults() -> None:
    assert read_settings({"PATH": "/bin"}) == Settings()
    assert read_settings({"MEDXFER_PORT": "9000"}) == Settings(port=9000)


@pytest.mark.parametrize(("setting", "allowed"), [(setting, allowed) for allowed in REFUSED for setting in REFUSED[allowed]])
def test_a_wrong_value_is_refused_with_what_is_allowed(setting: str, allowed: str) -> None:
    name, _, shown = setting.partition("=")
    value = shown.strip("'").replace(r"\n", "\n")
    with pytest.raises(SettingError) as error:
        read_settings({f"MEDXFER_{name}": value})
    assert str(error.value).startswith(f"MEDXFER_{'TOKEN=…' if name == 'TOKEN' else setting}: must be {allowed}")


def test_a_misspelt_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingError, match=r"MEDXFER_LANE: no such setting; .*MEDXFER_LANES"):
        read_settings({"MEDXFER_LANE": "2"})
