# Training on CPUs: docker build -f docker/training.Dockerfile .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS packages
COPY docker/serving.requirements.txt docker/training.requirements.txt /
# Training decodes and evaluates with the service's own code, so the service's packages come first.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --quiet --no-cache-dir --disable-pip-version-check --no-compile --no-deps \
       --require-hashes -r /serving.requirements.txt \
    && pip --python /venv/bin/python install --quiet --no-cache-dir --disable-pip-version-check --no-compile --retries 1 \
       --extra-index-url https://download.pytorch.org/whl/cpu -r /training.requirements.txt
# Remove torch's tests, headers and compilers. Do not compile torch/testing/_internal: a part needs newer Pythons.
RUN rm -rf /venv/lib/python3*/site-packages/torch/test /venv/lib/python3*/site-packages/torch/include \
    && find /venv/lib/python3*/site-packages/torch/bin -type f ! -name torch_shm_manager -delete \
    && python -m compileall -q -j 0 -x torch/testing/_internal /venv/lib

FROM python:${PYTHON}-slim
COPY --from=packages /venv /venv
WORKDIR /app
COPY service service
COPY training training
RUN python -m compileall -q service training \
    # /runs holds run folders and downloaded weights. Any user may write there, so that `--user` can be yours.
    && mkdir -m 1777 /runs
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app HF_HOME=/runs/huggingface HOME=/tmp \
    TRAINING_COMMAND="DATA=… MODEL=… docker compose run --rm --user \$(id -u):\$(id -g) training" TRAINING_WEIGHTS="WEIGHTS="
# Here, so that runs/1 and models/mine mean the same inside and outside.
WORKDIR /
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
ARG VERSION=unreleased REVISION=unknown
LABEL org.opencontainers.image.title="MedXfer training" \
      org.opencontainers.image.description="Fits an ImageNet network to chest X-rays and exports it for MedXfer serving, on CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
