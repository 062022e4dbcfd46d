"""Writes the log to standard error, one line per event, as JSON or for people, without ever blocking the service."""

import logging
import os
import select
import sys
import warnings
from datetime import UTC, datetime

import msgspec

PIECE_BYTES = 4_096  # a pipe that is ready takes this many at once (PIPE_BUF)
# What every record has, and what it gets as it is formatted; `color_message` is uvicorn's, for terminals.
RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}
FOR_PEOPLE = {
    "ready": "{model} is loaded: {variant}, on {cpus} CPUs",
    "listening": "MedXfer serves {model} on {url} — open it in a browser",
    "request": "{method} {route} {status}, {ms} ms",
}


class NonBlockingHandler(logging.Handler):
    """Drops lines while nobody reads the log, and reports later how many were dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped = 0
        self._torn = False  # the last line ended after some of its pieces

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if self._dropped and self._write(f'{{"level":"WARNING","message":"log lines dropped","count":{self._dropped}}}'):
                self._dropped = 0
            self._dropped += not self._write(line)
        except Exception:  # as in every handler: a failure here must not fail a request
            self.handleError(record)

    def _write(self, line: str) -> bool:
        data = b"\n" * self._torn + line.encode(errors="replace") + b"\n"
        for start in range(0, len(data), PIECE_BYTES):
            if not self._poll.poll(0):
                self._torn |= start > 0
                return False
            os.write(self._descriptor, data[start : start + PIECE_BYTES])
        self._torn = False
        return True


class JsonFormatter(logging.Formatter):
    """One object: level, message, the fields of the event, the traceback of its exception, and the time."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in RESERVED}
        traceback = {"exc_info": self.formatException(record.exc_info)} if record.exc_info else {}
        time = datetime.fromtimestamp(record.created, UTC)
        line = {"level": record.levelname, "message": record.getMessage(), **fields, **traceback, "time": time}
        return msgspec.json.encode(line, enc_hook=str).decode()


class TerminalFormatter(logging.Formatter):
    """Short lines for people. An event without words of its own is shown with its fields."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in RESERVED and not name.startswith("_")}
        words = FOR_PEOPLE.get(record.message)
        text = words.format_map(fields) if words else " ".join([record.message, *(f"{name}={fields[name]}" for name in fields)])
        problem = f": {fields['problem']}" if words and "problem" in fields else ""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        return f"{record.asctime} {level}{text}{problem}"


def configure_logging(level: str) -> None:
    # What no line of ours shows need not be found out: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = ""
    handler = NonBlockingHandler(sys.stderr.fileno())
    if sys.stderr.isatty():
        handler.setFormatter(TerminalFormatter())
        handler.addFilter(_is_for_people)
    else:
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("PIL").setLevel(logging.WARNING)  # its debug lines quote EXIF, which may name a patient
    logging.getLogger("uvicorn.error").addFilter(lambda record: "Invalid HTTP" not in record.getMessage())  # the client's fault
    warnings.filterwarnings("ignore", module=r"PIL\.")  # one image can cause thousands of warnings


def _is_for_people(record: logging.LogRecord) -> bool:
    """Whether it is ours, or a warning. Of what uvicorn tells about its steps, only how to end the waiting for clients."""
    ours = not record.name.startswith("uvicorn")
    return ours or record.levelno > logging.INFO or "force quit" in record.getMessage()
