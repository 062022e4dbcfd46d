#!/usr/bin/env bash
# Builds HAProxy and Prometheus from Debian's packages, where no image registry can be reached. The images get the names in
# compose.yaml, and what compose.yaml relies on in the public images. Images that exist are kept.
#   tests/engine/stand_ins.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

stand_in() { # stand_in IMAGE < Dockerfile
  docker image inspect "$1" >/dev/null 2>&1 || docker build --quiet --tag "$1" - >/dev/null
}
image_of() { sed -nE "s|^ +image: ($1:.*)|\1|p" compose.yaml; }

stand_in "$(image_of haproxy)" <<'DOCKERFILE'
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy wget >/dev/null
USER haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
DOCKERFILE

stand_in "$(image_of prom/prometheus)" <<'DOCKERFILE'
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null \
    && install -d -o nobody -g nogroup /prometheus
USER nobody
EXPOSE 9090
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
DOCKERFILE
