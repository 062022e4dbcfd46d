# The service: docker build -f docker/serving.Dockerfile .
# Base images are named by tag. Pin them by digest where you can look digests up.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS packages
COPY docker/serving.requirements.txt /
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --quiet --no-cache-dir --disable-pip-version-check --no-compile --no-deps \
       --require-hashes -r /serving.requirements.txt
# Remove what the service never reads: tools of ONNX Runtime and its C library (Python has its own copy), headers, examples,
# codes of DICOM reports, AVIF, stubs, tests. The service's tests run on what is left.
RUN cd /venv/lib/python3*/site-packages \
    && rm -rf onnxruntime/backend onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
       onnxruntime/capi/libonnxruntime.so.* numpy/f2py numpy/_core/include pydicom/data/test_files pydicom/sr \
       PIL/_avif.* pillow.libs/libavif-* \
    && find . -name '*.pyi' -delete \
    && find . -depth -path './numpy/*/tests' -exec rm -r {} + \
    && python -m compileall -q -j 0 /venv/lib

# The service's tests on these packages: docker build --target tests …
FROM packages AS tests
COPY tests/requirements.txt /
RUN pip --python /venv/bin/python install --quiet --no-cache-dir --disable-pip-version-check -r /requirements.txt
WORKDIR /app
COPY pyproject.toml ./
COPY tests tests
COPY models/default models/default
COPY service service
CMD ["/venv/bin/python", "-m", "pytest", "tests/service"]

FROM python:${PYTHON}-slim
COPY --from=packages /venv /venv
WORKDIR /app
COPY docker/healthcheck.py ./
COPY models/default /models/default
COPY service service
RUN python -m compileall -q service
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MEDXFER_HOST=0.0.0.0 MEDXFER_MODEL=/models/default
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-I", "-S", "healthcheck.py"]
CMD ["python", "-m", "service"]
ARG VERSION=unreleased REVISION=unknown
LABEL org.opencontainers.image.title="MedXfer serving" \
      org.opencontainers.image.description="Chest X-rays in, calibrated predictions out, on a CPU. Not a medical device" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
