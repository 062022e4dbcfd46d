"""Log lines: JSON, one an event, to standard error."""

import logging
import os
import select
import sys
import warnings

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

PIECE = 4_096  # bytes that a pipe takes at once, if it takes any (PIPE_BUF)


class Unblocking(logging.Handler):
    """Drops lines while nobody reads them, and then says how many: a service must not stand still because its log does."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped = 0
        self._torn = False  # the last line, after its first pieces

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if self._dropped and self._write(f'{{"level":"WARNING","message":"log lines dropped","count":{self._dropped}}}'):
                self._dropped = 0
            self._dropped += not self._write(line)
        except Exception:  # as in every handler: what fails here must not fail a request
            self.handleError(record)

    def _write(self, line: str) -> bool:
        data = b"\n" * self._torn + line.encode(errors="replace") + b"\n"
        for start in range(0, len(data), PIECE):
            if not self._poll.poll(0):
                self._torn |= start > 0
                return False
            os.write(self._descriptor, data[start : start + PIECE])
        self._torn = False
        return True


def configure_logging(level: str) -> None:
    handler = Unblocking(sys.stderr.fileno())
    handler.setFormatter(
        MsgspecFormatter(
            ["levelname", "message"],
            rename_fields={"levelname": "level"},
            timestamp="time",
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's, for terminals
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("PIL").setLevel(logging.WARNING)  # its debug lines hold what EXIF says of a patient
    logging.getLogger("uvicorn.error").addFilter(lambda record: "Invalid HTTP" not in record.getMessage())  # see protocol
    warnings.filterwarnings("ignore", module=r"PIL\.")  # an image can hold thousands of reasons for one
