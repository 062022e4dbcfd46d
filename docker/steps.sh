# Shared by docker/smoke*.sh, which source it.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PORT=${PORT:-18000} COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-medxfer-smoke}
url=http://localhost:$PORT
work=$(mktemp -d smoke.XXXXXX) # inside the repository, so that DATA is a relative path, as people give it

step() { printf '\n— %s\n' "$*"; }
expect() { # expect WHAT WANTED FOUND
  [[ $3 == "$2" ]] || { echo "$1: wanted $2, found $3" >&2; exit 1; }
  echo "$1: $3"
}
status() { curl -sS -o /dev/null -w '%{http_code}' "$@"; }
ask() { curl --fail-with-body -sS "$@"; }
from_json() { python3 -c "import json, sys; answer = json.load(sys.stdin); print($1)"; }
label() { from_json 'answer["label"], *answer["probabilities"].values()'; }
draw() { # draw noise|nothing HEIGHT WIDTH > PNG: grey noise, or transparent RGBA, which is a small file and a large image
  python3 - "$@" <<'PNG'
import random, struct, sys, zlib
what, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if what == "noise":
    colour, rows = 0, b"".join(b"\0" + random.Random(row).randbytes(width) for row in range(height))
else:
    colour, rows = 6, bytes(height * (1 + 4 * width))
def chunk(name, data): return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND", b"")
sys.stdout.buffer.write(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
PNG
}
