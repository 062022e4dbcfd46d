"""The server's process: starts, or says in one line why not; drains at a signal."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import sys
import time
from types import FrameType

import uvicorn

from service.app import create_app
from service.errors import MedXferError
from service.http.connection import protocol
from service.http.health import Lifecycle
from service.log import configure_logging
from service.settings import read_settings

CANNOT_START = 3  # uvicorn's exit code for it, too
KEEP_ALIVE_SECONDS = 5
MOST_CONNECTIONS = 65_536
QUIET_SECONDS = 0.3
FAREWELL_SECONDS = 2  # balancers ask once a second or so whether a server wants work


class Server(uvicorn.Server):
    """Tells the health routes of a signal at once, before uvicorn begins to close."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self.lifecycle = lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.lifecycle.state = "draining"
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._see_off()
        await super().shutdown(sockets)

    async def _see_off(self) -> None:
        """Listens on while requests keep coming: who connects as the socket closes is reset, and a balancer needs a moment to
        see that this server wants no more."""
        end = time.monotonic() + FAREWELL_SECONDS
        seen = -1
        while seen != self.server_state.total_requests and time.monotonic() < end and not self.force_exit:
            seen = self.server_state.total_requests
            await asyncio.sleep(QUIET_SECONDS)


def serve() -> int:
    """Until a signal ends it; returns the exit code. Configured by environment variables alone (see README)."""
    lifecycle = Lifecycle()
    try:
        settings = read_settings(os.environ)
        configure_logging(settings.log_level)
        app = create_app(settings, lifecycle)
    except MedXferError as error:
        print(f"medxfer: {error}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        return 0
    _allow_connections()
    config = uvicorn.Config(
        app,
        http=protocol(settings.deadline_ms / 1000, app.refused),
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
    server = Server(config, lifecycle)
    # uvicorn raises a Ctrl-C again that it has obeyed, and exits by itself where it cannot listen.
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        server.run()
    if not server.started:
        print(f"medxfer: cannot listen on MEDXFER_HOST={settings.host}, MEDXFER_PORT={settings.port}", file=sys.stderr)
        return CANNOT_START
    logging.shutdown()
    os._exit(0)  # the interpreter's own end would wait for threads that decode for nobody


def _allow_connections() -> None:
    """As many descriptors as the system lets us have: at the usual 1,024, as many slow clients would shut all others out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, MOST_CONNECTIONS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
