# make serve   serve models/default (or MEDXFER_MODEL) on http://localhost:8000
# make test    install everything, run all tests
# make test-page   only the page's tests, in a real browser (needs Chromium: apt-get install chromium)
# make check   all that CI checks: lint, types, tests
# make benchmark   the service against other servers, half an hour (needs Linux and wrk: apt-get install wrk)
# make benchmark-training   images per second of training, for training/README.md
# make benchmark-page       how fast the page paints, answers and reads a folder, for service/README.md (needs Chromium)
# make benchmark-archive [DATA=path/to/chest_xray]   images per second of whole archives (needs wrk), for service/README.md
# make torture   hostile input, faults and overload against the service, a quarter of an hour; writes tests/torture/README.md
# make soak      mixed traffic for MINUTES=30: do memory, descriptors and threads stay flat? writes tests/torture/README.md
# make torture-training   a run that is killed at ten random moments ends with the same weights (minutes)
# make screenshots   the page's main states at three widths, with a model of phantoms, in tests/web/screenshots (needs Chromium)
# make train DATA=path/to/chest_xray [CONFIG=fast|balanced|best|…] [OUT=models/mine] [WEIGHTS=…] [DEVICE=cpu] [POSITIVE=LABEL] [NAME=…] [SOURCE=…]
# make lock    compile docker/serving.requirements.txt from pyproject.toml

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
CONFIG ?= balanced
OUT ?= models/mine
MINUTES ?= 30
ifneq ($(origin NAME),command line)
NAME := # Windows' Linux (WSL) sets it in the environment, to the computer's name
endif

.PHONY: serve test test-page check screenshots benchmark benchmark-training benchmark-page benchmark-archive torture torture-training soak lint train help data-is-named lock

serve: .venv/serving
	$(BIN)/python -m service

# In more processes than two CPUs, since many tests wait. A file's tests stay together, as they share fixtures.
LONGEST := tests/test_pipeline.py tests/test_resume.py tests/web/test_access.py tests/test_ray.py tests/training/graph/test_assembly.py
test: .venv/everything
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(LONGEST) tests

test-page: .venv/everything
	$(BIN)/python -m pytest tests/web

check: lint test

benchmark: .venv/everything
	$(BIN)/python -m tests.benchmarks.serving

benchmark-training: .venv/everything
	$(BIN)/python -m tests.benchmarks.training

benchmark-page: .venv/everything
	$(BIN)/python -m tests.benchmarks.page

benchmark-archive: .venv/everything
	$(BIN)/python -m tests.benchmarks.archive $(if $(DATA),--data "$(DATA)")

torture: .venv/everything
	$(BIN)/python -m tests.torture
	$(BIN)/python -m pytest -m torture tests/training

torture-training: .venv/everything
	$(BIN)/python -m tests.torture.training

soak: .venv/everything
	$(BIN)/python -m tests.torture.soak $(MINUTES)

screenshots: .venv/everything models/phantom/model.json
	$(BIN)/python -m tests.web.screenshots

models/phantom/model.json: | .venv/everything
	$(BIN)/python -m training phantoms data/phantoms
	$(BIN)/python -m training train --data data/phantoms --config phantom --out models/phantom

lint: .venv/everything
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# $(call option,name,VARIABLE): the option with the variable's value, unless that is empty, quoted for the shell as it was given.
option = $(if $(value $2),--$1 '$(subst ','\'',$(value $2))')

given = $(call option,weights,WEIGHTS) $(call option,device,DEVICE) $(call option,positive,POSITIVE) $(call option,name,NAME) $(call option,source,SOURCE)

train: export TRAINING_WEIGHTS = WEIGHTS=
train: data-is-named .venv/everything
	$(BIN)/python -m training train $(call option,data,DATA) $(call option,config,CONFIG) $(call option,out,OUT) $(given)

data-is-named:
	@test -n "$(DATA)" || { echo 'make train DATA=path/to/images: a folder for each label, or a table; training/README.md shows the shapes that work'; exit 2; }

help:
	@grep '^# make' Makefile

lock: .venv/everything
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --custom-compile-command 'make lock' --quiet --upgrade --output-file docker/serving.requirements.txt

.venv/serving: docker/serving.requirements.txt
	@test -n "$(PYTHON)" || { echo 'no Python 3.11, 3.12 or 3.13 with venv found; name one: make PYTHON=/path/to/python'; exit 2; }
	@echo 'installing what the service needs into .venv …'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r docker/serving.requirements.txt
	@touch $@

# The torch for NVIDIA's GPUs is pip's own choice on Linux. Without a driver, and with DEVICE=cpu, the smaller build for CPUs comes
# from PyTorch's index, whose version counts as newer. Where it cannot be reached, pip continues without it. It would warn of what
# Litestar lists and pyproject.toml leaves out; tests/test_packaging.py looks for all other conflicts.
TORCH_FOR = $(or $(DEVICE),$(shell nvidia-smi >/dev/null 2>&1 || test -e /proc/driver/nvidia || echo cpu))
CPU_INDEX = $(if $(filter cpu,$(TORCH_FOR)),--extra-index-url https://download.pytorch.org/whl/cpu)
.venv/everything: .venv/serving docker/training.requirements.txt tests/requirements.txt
	@echo 'installing what training and tests need into .venv …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --retries 1 $(CPU_INDEX) \
		-r docker/training.requirements.txt -r tests/requirements.txt
	@touch $@
