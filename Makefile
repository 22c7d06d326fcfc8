# tinyse: `make run` does the main job on real input, `make test` passes the tests. Both install what they need.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
TARGET ?= ethos-u55-128
OUT ?= report
# Processes of the tests: one a core, as far as there are 5 GB for each.
TESTERS := $(shell awk -v n="$$(nproc)" '/MemTotal/ {m = int($$2 / 5e6); n = m < n ? m : n; print (n < 1 ? 1 : n > 8 ? 8 : n)}' /proc/meminfo)
APT_TEST := gcc g++ python3-dev gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib \
  cppcheck qemu-system-arm gdb-multiarch openocd cmake make
APT_FIRMWARE := gcc-arm-none-eabi libnewlib-arm-none-eabi make $(if $(TFLM_DIR),libstdc++-arm-none-eabi-newlib)

.PHONY: help setup setup-dev system-test run firmware flash test lint train-full model model-run sweep bench bench-speed bench-device bench-quality bench-predictor bench-corpus listen fuzz-npu fuzz-firmware soak analyze explore clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Make the venv and install tinyse into it
setup-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "tinyse needs Python 3.11 or 3.12: make PYTHON=python3.11 ..."; exit 1; }
	@scripts/system-packages "$(PYTHON)" gcc python3-dev python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,cluster]'
	@touch $@

$(VENV)/.installed-cluster: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[cluster]'
	@touch $@

run: setup ## The whole chain on real speech and noise; leaves report/index.html
	@scripts/system-packages "$(PYTHON)" $(APT_FIRMWARE) qemu-system-arm
	$(PY) -m tinyse run --recipe quick --target $(TARGET) --out $(OUT)

MODEL ?= models/tinylstm-dense
BOARD ?= corstone300
firmware: setup ## Firmware images of a model: make firmware [MODEL=DIR] [BOARD=NAME] [TFLM_DIR=DIR]
	@scripts/system-packages "$(PYTHON)" $(APT_FIRMWARE)
	$(PY) -m tinyse firmware build "$(MODEL)" --board "$(BOARD)" $(if $(TFLM_DIR),--tflm "$(TFLM_DIR)")

flash: setup ## Build and flash: make flash BOARD=stm32f746g-disco|stm32h743zi|mps3-an547 [MODEL=DIR]
	@scripts/system-packages "$(PYTHON)" $(APT_FIRMWARE) openocd
	$(PY) -m tinyse firmware flash "$(MODEL)" --board "$(BOARD)"

system-test:
	@scripts/system-packages "$(PYTHON)" $(APT_TEST)

test: system-test setup-dev lint ## Install what the tests need and run them all
	$(PY) -m pytest -n $(TESTERS) --dist loadfile

lint: setup-dev ## ruff and mypy
	$(PY) -m ruff check tinyse tests
	$(PY) -m mypy

train-full: setup ## The full recipe on the full corpus (resumable); result in models/tinylstm-dense
	$(PY) -m tinyse data fetch --tier default
	$(PY) -m tinyse train full --out runs/full --resume
	$(PY) -m tinyse release runs/full --name tinylstm-dense

NAME ?= tinylstm-dense
model: model-run ## Train and release a model of models/ again: make model NAME=tinylstm-dense
	$(PY) -m tinyse release runs/$(NAME) --name $(NAME)

# A recipe that starts from another model's run, "  start: runs/OTHER", gets that run first.
model-run: setup
	$(PY) -m tinyse data fetch --tier default
	@tier=$$(sed -n 's|^  tier: ||p' models/$(NAME)/recipe.yaml) || exit; \
	  [ "$$tier" = default ] || $(PY) -m tinyse data fetch --tier "$$tier"
	@start=$$(sed -n 's|^  start: runs/||p' models/$(NAME)/recipe.yaml) || exit; \
	  [ -z "$$start" ] || [ -f "runs/$$start/model.npz" ] || $(MAKE) --no-print-directory model-run NAME="$$start"
	@! grep -q '^  path: corpora/voices' models/$(NAME)/recipe.yaml || { $(PY) -m pip install --quiet --disable-pip-version-check -e '.[rooms]' && \
	  TINYSE="$(PY) -m tinyse" scripts/training-corpus; }
	$(PY) -m tinyse train models/$(NAME)/recipe.yaml --out runs/$(NAME) --resume

sweep: setup $(if $(ON),$(VENV)/.installed-cluster) ## The papers' trade-offs from one dense run (resumable; ON=ray); leaves sweeps/papers/sweep.html
	$(PY) -m tinyse data fetch --tier default
	$(PY) -m tinyse train full --out runs/full --resume
	$(PY) -m tinyse sweep papers --from runs/full --out sweeps/papers $(if $(ON),--on "$(ON)")

fuzz-npu: setup-dev ## 100,000 mutated command streams against the simulator
	$(PY) -m tests.fuzz_npu --count 100000

fuzz-firmware: system-test setup-dev ## 100,000 sounds, files and payloads through the C library, sanitized
	$(PY) -m tests.fuzz_firmware --count 100000

SOAK ?= 60
soak: system-test setup-dev ## SOAK (60) minutes of noisy speech through the emulated firmware, every minute held to the host
	$(PY) -m tinyse data fetch --tier small
	$(PY) -m tests.soak_firmware --minutes $(SOAK)

analyze: system-test setup-dev ## Stack bound, gcc -fanalyzer and cppcheck over the firmware
	$(PY) -m pytest tests/test_firmware_analysis.py

bench: bench-speed ## The same as bench-speed
bench-speed: setup ## Training, export, engines, simulator beside the plain way, as ratios of one run; writes docs/benchmarks.md
	$(PY) -m tinyse.bench speed

bench-device: setup ## Vela cycles, arena, flash, CPU instructions of every model and others' shapes; writes docs/benchmarks.md
	@scripts/system-packages "$(PYTHON)" $(APT_FIRMWARE) qemu-system-arm
	$(PY) -m tinyse.bench device

bench-quality: setup $(if $(ON),$(VENV)/.installed-cluster) ## Peers and models on the same mixtures (resumable; ON=ray); writes docs/benchmarks.md
	$(PY) -m tinyse data fetch --tier default
	$(PY) -m tinyse data fetch --tier unseen
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[rooms]'
	$(PY) -m tinyse.bench install
	$(PY) -m tinyse.bench quality $(if $(ON),--on "$(ON)")

bench-predictor: setup ## The quality predictor beside WB-PESQ and real maps, of runs/quality and runs/quality-real; writes docs/quality.md
	$(PY) -m tinyse.bench predictor

HOURS ?= 10,50,200
bench-corpus: setup ## Memory and time of each stage on 10, 50 and 200 hours (HOURS=10; 46 GB at 200); writes docs/corpus.md
	$(PY) -m tinyse data fetch --tier small
	$(PY) -m tinyse.bench corpus --hours $(HOURS)

listen: setup ## A page to listen to peers and models, after bench-quality; leaves build/bench/listen-*.html
	$(PY) -m tinyse.bench install
	$(PY) -m tinyse.bench listen

EXPLORE ?= 20
explore: setup-dev ## Property tests with new random examples, EXPLORE (20) times as many
	TINYSE_RANDOM=1 TINYSE_EXAMPLES=$(EXPLORE) $(PY) -m pytest -m 'hypothesis and not slow'

clean: ## Remove the venv and what runs left
	rm -rf $(VENV) runs report sweeps build
