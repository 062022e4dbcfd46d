# The service: docker build -f docker/serving.Dockerfile .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
COPY docker/serving.requirements.txt /
RUN python -m venv /venv \
    && /venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /serving.requirements.txt

# The service's own tests, on the very packages it ships with: docker build --target tests …
FROM build AS tests
COPY tests/requirements.txt /
RUN /venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check -r /requirements.txt
WORKDIR /app
COPY pyproject.toml ./
COPY tests tests
COPY models/default models/default
COPY service service
CMD ["/venv/bin/python", "-m", "pytest", "tests/service"]

FROM build AS packages
RUN /venv/bin/python -m pip uninstall --quiet --yes pip \
    && find /venv -depth -name tests -type d -path '*/numpy/*' -exec rm -r {} + \
    && python -m compileall -q /venv/lib

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
