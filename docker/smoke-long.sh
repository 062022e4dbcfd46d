#!/usr/bin/env bash
# What docker/smoke.sh leaves out because it takes minutes: the service's tests inside its image, too little memory, replicas,
# Prometheus and Grafana, and training a model that is then served. Ends at the first failure.
#   docker/smoke-long.sh   needs what docker/smoke.sh needs; trains on drawings, or on the images of DATA=path/to/chest_xray
# shellcheck source=docker/steps.sh
source "$(dirname "$0")/steps.sh"
trap 'docker rm --force "$small" >/dev/null 2>&1; docker compose --profile "*" down --volumes --timeout 5 >/dev/null 2>&1; rm -rf "$work" models/smoke models/smoke.toml' EXIT
export SCALE_PORT=$((PORT + 2)) PROMETHEUS_PORT=$((PORT + 3)) GRAFANA_PORT=$((PORT + 4))
small=$COMPOSE_PROJECT_NAME-small

step build
docker compose --profile train build --quiet
docker build --quiet --file docker/serving.Dockerfile --target tests --tag medxfer-serving-tests . >/dev/null
docker images --format '{{.Repository}} {{.Size}}' | grep '^medxfer-' | sort

step "the service's tests on the packages of its image"
docker run --rm --read-only --tmpfs /tmp medxfer-serving-tests /venv/bin/python -m pytest -q -p no:cacheprovider tests/service

step "an image that needs more memory than there is: the container is killed, restarts, and gives the same answer"
docker compose up --wait
draw noise 500 640 >"$work/image.png"
draw nothing 5000 8000 >"$work/large.png" # 160 MB, decoded
answer=$(ask -F image=@"$work/image.png" "$url/predict" | label)
docker run --detach --name "$small" --memory 256m --memory-swap 256m --restart unless-stopped --read-only \
  --publish "127.0.0.1:$((PORT + 1)):8000" medxfer-serving >/dev/null
answer_of_small() { ask --retry 30 --retry-all-errors --retry-delay 1 -F image=@"$work/image.png" "http://localhost:$((PORT + 1))/predict" | label; }
expect "before" "$answer" "$(answer_of_small)"
status -F image=@"$work/large.png" "http://localhost:$((PORT + 1))/predict" || echo ': no answer to the large image'
expect "after" "$answer" "$(answer_of_small)"
echo "restarts: $(docker inspect --format '{{.RestartCount}}' "$small")"
docker rm --force "$small" >/dev/null

step "several replicas"
docker compose up --wait balancer
expect "the same answer" "$answer" "$(ask -F image=@"$work/image.png" "http://localhost:$SCALE_PORT/predict" | label)"
expect "70 MB" 413 "$(head -c 70000000 /dev/zero | status --data-binary @- "http://localhost:$SCALE_PORT/predict")"
docker compose --profile scale stop balancer replica

step "Prometheus and Grafana"
grafana=$(docker compose --profile observe config --images grafana | grep grafana)
if docker image inspect "$grafana" >/dev/null 2>&1 || docker pull --quiet "$grafana"; then
  docker compose --profile observe up --wait
  expect "dashboard" MedXfer "$(ask --retry 30 --retry-all-errors --retry-delay 1 "http://localhost:$GRAFANA_PORT/api/dashboards/uid/medxfer" |
    from_json 'answer["dashboard"]["title"]')"
else
  echo 'not run: the image of Grafana is not available (tests/test_observe.py sends the queries of its dashboard to Prometheus)'
fi

step train
images=${DATA:-$work/phantoms}
[[ -n ${DATA:-} ]] ||
  DATA=$work docker compose run --rm --user "$(id -u):$(id -g)" --volume "$PWD/$work:/smoke" training phantoms /smoke/phantoms --count 200
cp training/configs/phantom.toml models/smoke.toml # as a TOML of one's own
DATA=$images MODEL=smoke CONFIG=models/smoke.toml WEIGHTS=none docker compose run --rm --user "$(id -u):$(id -g)" training
ls -l models/smoke

step "serve the trained model"
MODEL=smoke docker compose up --wait
expect "model served" phantom "$(ask "$url/model-info" | from_json 'answer["name"]')"
image=$(find "$images" -name 'person*.jpeg' | sort | sed -n 1p) # head would close the pipe on sort
ask -F image=@"$image" "$url/predict" | label
step "stop everything"
docker compose --profile '*' down
expect "left" 0 "$(docker compose --profile '*' ps --all --quiet | wc -l)"
step passed
