"""Health check of the container: exits with 0 if the service is ready.

Uses a bare socket, because importing urllib takes longer than the check.
"""

import os
import socket
import sys

port = int(os.environ.get("MEDXFER_PORT", "8000"))
with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    sys.exit(not connection.recv(32).startswith(b"HTTP/1.1 200"))
