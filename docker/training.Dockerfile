# Training on CPUs: docker build -f docker/training.Dockerfile .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
COPY docker/serving.requirements.txt docker/training.requirements.txt /
# Training decodes and evaluates with the service's own code, so it takes the service's packages first.
RUN python -m venv /venv \
    && /venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /serving.requirements.txt \
    && /venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --retries 1 \
       --extra-index-url https://download.pytorch.org/whl/cpu -r /training.requirements.txt

FROM python:${PYTHON}-slim
COPY --from=build /venv /venv
WORKDIR /app
COPY service service
COPY training training
# Run folders and downloaded weights; for any user id, so that `--user` can be yours.
RUN mkdir -m 1777 /runs
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app TORCH_HOME=/runs/torch HOME=/tmp \
    TRAINING_COMMAND="DATA=… MODEL=… docker compose run --rm --user \$(id -u):\$(id -g) training"
WORKDIR /runs
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
