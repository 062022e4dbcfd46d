"""Parses forms (multipart/form-data) in memory. The body is bounded already, and nothing touches the disk."""

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from service.errors import MalformedRequest

OTHER_PARTS = 3  # that a form may have beside its images


def is_form(content_type: str) -> bool:
    return bool(parse_options_header(content_type)[0] == "multipart/form-data")


def read_images(body: bytes, content_type: str, field: str, most: int) -> list[bytes]:
    """The contents of all parts named `field`. Their file names and types are ignored.

    Raises MalformedRequest if the body is no form, or has not 1 to `most` such parts.
    """
    if not is_form(content_type):
        raise MalformedRequest(f"the body is not a form (multipart/form-data), with the field «{field}»")
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    found: list[bytes] = []
    try:
        # MultipartParser, built on these events, takes three times as long, as it copies in pieces of 64 KB. latin-1 decodes
        # any byte, so no file name is refused.
        with PushMultipartParser(boundary, header_charset="latin-1", max_segment_count=most + OTHER_PARTS) as parser:
            is_image = False
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    is_image = event.name == field
                    if is_image:
                        found.append(b"")
                elif event and is_image:
                    found[-1] += event
    except ParserLimitReached as error:
        raise MalformedRequest(f"the form has over {most + OTHER_PARTS} parts, or a part with a very large head") from error
    except MultipartError as error:
        raise MalformedRequest(f"the form cannot be read: {error.args[0]}") from error
    if not 1 <= len(found) <= most:
        times = "once" if most == 1 else f"1 to {most} times"
        raise MalformedRequest(f"the form needs the field «{field}» {times}, it has it {len(found)} times")
    return found
