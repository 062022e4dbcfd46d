"""Starts the service: loads the model in a thread while the main thread imports the HTTP libraries. Both take about as long."""

import os
import sys
from concurrent.futures import Future
from threading import Thread

from service import machine
from service.engine.engine import Engine
from service.errors import CANNOT_START, MedXferError
from service.log import configure_logging
from service.settings import Settings, read_settings


def start() -> int:
    """Serves until a signal comes, and returns the exit code. Configured by environment variables (see `settings`)."""
    try:
        settings = read_settings(os.environ)
        configure_logging(settings.log_level)
        loading: Future[Engine] = Future()
        thread = Thread(target=_load, args=(settings, loading), daemon=True)
        thread.start()
        from service import server

        engine = loading.result()
        thread.join()  # processes are forked from this one, which must have no other thread then
    except MedXferError as error:
        print(f"medxfer: {error}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        os._exit(0)  # at once: Python would end while the thread may be in ONNX Runtime
    return server.serve(engine)


def _load(settings: Settings, loading: Future[Engine]) -> None:
    try:
        processes = settings.processes or machine.processes_for(machine.available_cpus())
        loading.set_result(Engine.load(settings, processes))
    except BaseException as error:
        loading.set_exception(error)
