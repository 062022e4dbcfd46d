"""The server: configures and runs uvicorn, in several processes on many CPUs, drains at a signal, and returns the exit code."""

import asyncio
import contextlib
import logging
import os
import resource
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

import uvicorn

from service import memory
from service.app import create_app
from service.engine.engine import Engine
from service.errors import CANNOT_START
from service.http.connection import protocol
from service.http.middleware import Middleware
from service.http.status import Lifecycle
from service.settings import Settings
from service.supervisor import Supervisor, listen

logger = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "::1", "0.0.0.0", "::")
KEEP_ALIVE_SECONDS = 5
MOST_CONNECTIONS = 65_536
QUIET_SECONDS = 0.3
LAST_SECONDS = 5  # a balancer on a busy machine needed three to see two of its probes fail


class Server(uvicorn.Server):
    """Marks the service as draining as soon as a signal comes, before uvicorn begins to close. `parent` is a descriptor that
    can be read once the supervisor is gone."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, model: str, app: Middleware, parent: int | None) -> None:
        super().__init__(config)
        self.lifecycle = lifecycle
        self.model = model
        self.app = app
        self.parent = parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.parent is not None:
            asyncio.get_running_loop().add_reader(self.parent, self._end_as_orphan, self.parent)
        await super().startup(sockets)
        if self.started:
            logger.info("listening", extra={"model": self.model, "url": browser_url(self.config.host, self.config.port)})

    def _end_as_orphan(self, parent: int) -> None:
        asyncio.get_running_loop().remove_reader(parent)
        _remove(self.app.metrics.folder)
        self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.lifecycle.state = "draining"
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._accept_last_requests()
        await super().shutdown(sockets)

    async def _accept_last_requests(self) -> None:
        """Keeps listening while requests still come. A client that connects as the socket closes would be reset, and a balancer
        needs a moment to notice that this server is draining."""
        end = time.monotonic() + LAST_SECONDS
        seen = -1
        while seen != self.server_state.total_requests and time.monotonic() < end and not self.force_exit:
            seen = self.server_state.total_requests
            await asyncio.sleep(QUIET_SECONDS)


def serve(engine: Engine) -> int:
    """Serves until a signal comes, and returns the exit code."""
    lifecycle = Lifecycle()
    app = create_app(engine, lifecycle)
    _allow_connections()
    memory.settle()
    return _serve(engine, app, lifecycle) if engine.processes == 1 else _serve_in_several(engine, app, lifecycle)


def _serve_in_several(engine: Engine, app: Middleware, lifecycle: Lifecycle) -> int:
    settings, processes = engine.settings, engine.processes

    def serve_one(slot: int, listening: socket.socket, parent: int) -> int:
        app.metrics.slot = str(slot)
        return _serve(engine, app, lifecycle, listening, parent)

    app.metrics.begin_sharing()
    try:
        supervisor = Supervisor(serve_one, listen(settings.host, settings.port, processes), CANNOT_START)
        exit_code = supervisor.run()
    except OSError as error:
        print(f"medxfer: cannot serve on {_address(settings)} in {processes} processes: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    finally:
        _remove(app.metrics.folder)
    if supervisor.ended_by:
        signal.raise_signal(supervisor.ended_by)  # to end as one process does
    return exit_code


def _serve(
    engine: Engine,
    app: Middleware,
    lifecycle: Lifecycle,
    listening: socket.socket | None = None,
    parent: int | None = None,
) -> int:
    settings = engine.settings
    config = uvicorn.Config(
        app,
        http=protocol(settings.deadline_ms / 1000, app.note_refusal),
        host=settings.host,
        port=settings.port,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    server = Server(config, lifecycle, settings.model, app, parent)
    # uvicorn raises Ctrl-C again after it has drained, and exits by itself if it cannot listen.
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        server.run([listening] if listening else None)
    if not server.started:
        print(f"medxfer: cannot listen on {_address(settings)}", file=sys.stderr)
        return CANNOT_START
    logging.shutdown()
    os._exit(0)  # a normal end would wait for decoder threads whose clients have left


def _remove(folder: Path | None) -> None:
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _address(settings: Settings) -> str:
    return f"MEDXFER_HOST={settings.host}, MEDXFER_PORT={settings.port}"


def browser_url(host: str, port: int) -> str:
    """The address for a browser on this machine."""
    if host in LOCAL:
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _allow_connections() -> None:
    """Raises the limit of open files: at the usual 1,024, as many slow clients would lock out all others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, MOST_CONNECTIONS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
