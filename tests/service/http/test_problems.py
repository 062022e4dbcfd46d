"""Clients match on the `type` of a problem: it stays when a class is renamed."""

from service import errors

PROBLEMS = {
    "MalformedRequest": (400, "malformed-request"),
    "Unauthorized": (401, "unauthorized"),
    "UnknownModel": (404, "unknown-model"),
    "TooSlow": (408, "too-slow"),
    "BodyTooLarge": (413, "body-too-large"),
    "UnsupportedEncoding": (415, "unsupported-encoding"),
    "UnsupportedImage": (415, "unsupported-image"),
    "ImageError": (422, "image-error"),
    "UndecodableImage": (422, "undecodable-image"),
    "UnreadableFile": (422, "unreadable-file"),
    "ImageOutOfRange": (422, "image-out-of-range"),
    "Overloaded": (429, "overloaded"),
    "NotReady": (503, "not-ready"),
    "DeadlineExceeded": (504, "deadline-exceeded"),
}


def test_no_error_changes_its_status_or_the_type_of_its_problem() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RequestError)]
    found = {kind.__name__: (kind.status, kind.type) for kind in classes if kind is not errors.RequestError}
    assert found == {name: (status, f"urn:medxfer:problem:{word}") for name, (status, word) in PROBLEMS.items()}
