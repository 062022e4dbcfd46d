#!/usr/bin/env bash
# Smoke test of the service's image, for your CI: build, start, good and bad requests, privileges, size, stop.
# Ends at the first failure. docker/smoke-long.sh has the rest: training, profiles, too little memory.
#   docker/smoke.sh        needs Docker with compose, curl and python3; removes what it started
# shellcheck source=docker/steps.sh
source "$(dirname "$0")/steps.sh"
trap 'docker compose down --timeout 5 >/dev/null 2>&1; rm -rf "$work"' EXIT
most_above_base=220 # MB

step build
docker compose build --quiet
SECONDS=0

step size
base=$(sed -nE 's/^FROM (python:)\$\{PYTHON\}(.*) AS packages/\1/p' docker/serving.Dockerfile)$(sed -nE 's/^ARG PYTHON=//p' docker/serving.Dockerfile)-slim
docker image inspect "$base" >/dev/null 2>&1 || docker pull --quiet "$base"
size() { docker image inspect --format '{{.Size}}' "$1"; }
docker run --rm medxfer-serving sh -c 'du -sm /venv/lib/python3*/site-packages/* /venv /models /app | sort -rn | head -n 16'
above=$((($(size medxfer-serving) - $(size "$base")) / 1000000))
echo "medxfer-serving is $above MB above $base"
[[ $above -le $most_above_base ]] || { echo "that is over $most_above_base" >&2; exit 1; }
expect "title" "MedXfer serving" "$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.title"}}' medxfer-serving)"

step up
docker compose up --wait
echo "healthy $SECONDS s after the build"
[[ $SECONDS -le 10 ]] || { echo "that is over 10" >&2; exit 1; }

step privileges
container=$(docker compose ps --quiet serving)
inside() { docker compose exec -T serving "$@"; }
inside cat /proc/self/status >"$work/status"
expect "user" 10001 "$(inside id -u)"
expect "capabilities" 0000000000000000 "$(awk '/^CapEff/ {print $2}' "$work/status")"
expect "no new privileges" 1 "$(awk '/^NoNewPrivs/ {print $2}' "$work/status")"
expect "read-only" true "$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$container")"
expect "writes" no "$(inside sh -c 'touch /x /app/x /models/x /tmp/x 2>/dev/null; ls /x /app/x /models/x /tmp/x 2>/dev/null || echo no')"

step "good and bad requests"
draw noise 500 640 >"$work/image.png"
head -c 70000000 /dev/zero >"$work/large"
form=$(ask -F image=@"$work/image.png" "$url/predict" | label)
expect "raw bytes" "$form" "$(ask --data-binary @"$work/image.png" "$url/predict" | label)"
expect "a text" 415 "$(status --data-binary @README.md "$url/predict")"
expect "a form without an image" 400 "$(status -F other=text "$url/predict")"
expect "70 MB" 413 "$(status --data-binary @"$work/large" "$url/predict")"
expect "results of a batch" "prediction problem" "$(ask -F images=@"$work/image.png" -F images=@README.md "$url/predict/batch" |
  from_json '*(next(iter(result)) for result in answer["results"])')"
expect "HEAD" 200 "$(status --head "$url/health")"
expect "the page" 200 "$(status "$url/")"
ask "$url/metrics" | grep '^medxfer_requests_total{outcome="answered",route="/predict"}'

step "stop while a client is still sending"
curl -sS -o /dev/null -w '%{http_code}' --limit-rate 100K --data-binary @"$work/image.png" "$url/predict" >"$work/last" &
sleep 1
begun=$SECONDS
docker compose stop
wait $!
expect "the client's answer" 200 "$(<"$work/last")"
expect "exit code" 143 "$(docker inspect --format '{{.State.ExitCode}}' "$container")"
echo "stopped in $((SECONDS - begun)) s, of $(docker inspect --format '{{.Config.StopTimeout}}' "$container")"
docker compose logs serving --no-log-prefix --tail 2

[[ $SECONDS -lt 90 ]] || { echo "$SECONDS s after the build: that is over 90" >&2; exit 1; }
step "passed, $SECONDS s after the build"
