#!/usr/bin/env bash
# What a user does with Docker, from build to a model of one's own; ends at the first thing that is wrong.
#   docker/smoke.sh        needs a Docker engine with compose; takes down what it started
set -euo pipefail
cd "$(dirname "$0")/.."

export PORT=${PORT:-18000} COMPOSE_PROJECT_NAME=medxfer-smoke
url=http://localhost:$PORT
work=$(mktemp -d smoke.XXXXXX) # here, so that DATA is a relative path, as people give it
trap 'docker rm --force "$COMPOSE_PROJECT_NAME-small" >/dev/null 2>&1; docker compose --profile train down --volumes --timeout 5 >/dev/null 2>&1; rm -rf "$work" models/smoke' EXIT

step() { printf '\n— %s\n' "$*"; }
expect() { # expect WHAT WANTED FOUND
  [[ $3 == "$2" ]] || { echo "$1: wanted $2, found $3" >&2; exit 1; }
  echo "$1: $3"
}
label() { python3 -c 'import json, sys; answer = json.load(sys.stdin); print(answer["label"], *answer["probabilities"].values())'; }

step build
docker compose --profile train build --quiet
docker build --quiet --file docker/serving.Dockerfile --target tests --tag medxfer-serving-tests . >/dev/null
docker images --format '{{.Repository}} {{.Size}}' | grep '^medxfer-' | sort

step "the service's tests, inside its image"
docker run --rm --read-only --tmpfs /tmp medxfer-serving-tests /venv/bin/python -m pytest -q -p no:cacheprovider tests/service

step up
docker compose up --wait
docker compose exec serving sh -c 'touch /app/x 2>/dev/null && exit 1; id -u; grep CapEff /proc/self/status' | tee "$work/inside"
expect "user" 10001 "$(head -n 1 "$work/inside")"
expect "capabilities" 0000000000000000 "$(awk '/CapEff/ {print $2}' "$work/inside")"

step predict
DATA=$work docker compose run --rm --user "$(id -u):$(id -g)" --volume "$PWD/$work:/smoke" training phantoms /smoke/phantoms --count 200
image=$(find "$work/phantoms" -name 'person*.jpeg' | sort | sed -n 1p) # head would close the pipe on sort
form=$(curl --fail-with-body -sS -F image=@"$image" "$url/predict" | label)
expect "raw bytes" "$form" "$(curl --fail-with-body -sS --data-binary @"$image" "$url/predict" | label)"
expect "a text" 415 "$(curl -sS -o /dev/null -w '%{http_code}' --data-binary @README.md "$url/predict")"

step "metrics, and several images"
curl --fail-with-body -sS "$url/metrics" | grep '^medxfer_requests_total{outcome="answered",route="/predict"}'
expect "results of a batch" 2 "$(curl --fail-with-body -sS -F images=@"$image" -F images=@README.md "$url/predict/batch" |
  python3 -c 'import json, sys; print(sum("prediction" in each or "problem" in each for each in json.load(sys.stdin)["results"]))')"

step "an image that takes more memory than there is: killed, started again, the same answer"
docker run --detach --name "$COMPOSE_PROJECT_NAME-small" --memory 256m --memory-swap 256m --restart unless-stopped --read-only \
  --publish "127.0.0.1:$((PORT + 1)):8000" medxfer-serving >/dev/null
small=http://localhost:$((PORT + 1))
answer_of_small() { curl --fail-with-body -sS --retry 30 --retry-all-errors --retry-delay 1 -F image=@"$image" "$small/predict" | label; }
expect "before" "$form" "$(answer_of_small)"
python3 - >"$work/large.png" <<'PNG' # 8,000 × 5,000 RGBA: 160 MB, decoded
import struct, sys, zlib
def chunk(name, data): return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
header = struct.pack(">IIBBBBB", 8000, 5000, 8, 6, 0, 0, 0)
parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(5000 * 32001), 1)), chunk(b"IEND", b""))
sys.stdout.buffer.write(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
PNG
curl -sS -o /dev/null -F image=@"$work/large.png" "$small/predict" || echo 'no answer to the large one'
expect "after" "$form" "$(answer_of_small)"
echo "restarts: $(docker inspect --format '{{.RestartCount}}' "$COMPOSE_PROJECT_NAME-small")"
docker rm --force "$COMPOSE_PROJECT_NAME-small" >/dev/null

step train
DATA=$work/phantoms MODEL=smoke CONFIG=phantom docker compose run --rm --user "$(id -u):$(id -g)" training
ls -l models/smoke

step "serve it"
MODEL=smoke docker compose up --wait
expect "model served" phantom "$(curl -sS "$url/model-info" | python3 -c 'import json, sys; print(json.load(sys.stdin)["name"])')"
curl --fail-with-body -sS -F image=@"$image" "$url/predict" | label

step stop
docker compose stop
docker compose logs serving --no-log-prefix --tail 3
expect "exit code" 143 "$(docker inspect --format '{{.State.ExitCode}}' "$(docker compose ps --all --quiet serving)")"
step "all well"
