# For users: make demo, make lab. For maintainers: make test-fast, make test-quick, make test (CONTRIBUTING.md).
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
# `make demo CPU=1` installs torch without CUDA.
CPU_INDEX := https://download.pytorch.org/whl/cpu
BIN := .venv/bin
STAMP := .venv/installed
NBVAL := -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout 240 \
	--nbval-sanitize-with notebooks/sanitize.cfg

.PHONY: demo test test-fast test-quick test-notebooks test-notebooks-zh test-browser test-firefox \
	notebooks notebooks-zh api figures site lab lint clean

demo: $(STAMP)
	$(BIN)/scale demo

# One thread per process: on two cores, two processes of two threads each would wait for each other,
# and small trainings would take ten times as long.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	$(MAKE) test-notebooks

# All tests but the slow ones, without notebooks.
test-quick: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q -m "not slow"

# The core, in under 90 seconds: the inner loop of development.
test-fast: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q tests/test_config.py tests/model \
		tests/losses tests/evaluation/test_metrics.py tests/data/test_catalogue.py

# All notebooks share the demo's model; without it the first one would train it. Progress bars are off:
# whether they appear depends on the speed of the machine.
test-notebooks: $(STAMP)
	$(BIN)/scale demo
	TQDM_DISABLE=1 $(BIN)/python -m pytest notebooks --ignore notebooks/zh $(NBVAL)

# The Chinese edition has the same code: once a week, and before a release.
test-notebooks-zh: $(STAMP)
	$(BIN)/scale demo
	SCALE_LANG=zh TQDM_DISABLE=1 $(BIN)/python -m pytest notebooks/zh $(NBVAL)

# The explorers in JupyterLab and in Voilà, in Chromium. Needs Debian's chromium and fonts-noto-cjk;
# screenshots are written to build/browser.
test-browser: $(STAMP)
	$(BIN)/scale demo
	$(BIN)/python -m pytest tests/browser --ignore tests/browser/test_browser_firefox.py

# The essential steps in Firefox, once a week and before a release: the next Firefox of Debian may
# not work with this Playwright. Needs `apt-get install firefox-esr xvfb`.
test-firefox: $(STAMP)
	$(BIN)/scale demo
	$(BIN)/python -m pytest tests/browser/test_browser_firefox.py

# Execute notebooks/src; ONLY="09 13" selects some.
notebooks: $(STAMP)
	$(BIN)/python tools/notebooks.py $(ONLY)

# The Chinese edition, from notebooks/src/zh; `tools/notebooks.py --translate 09` creates or updates its texts.
notebooks-zh: $(STAMP)
	$(BIN)/python tools/notebooks.py --lang zh $(ONLY)

# docs/api.md, from the docstrings.
api: $(STAMP)
	$(BIN)/python -m tools.api_page

# figures/: the core figures and both decks of the demo's run, and their gallery.
figures: $(STAMP)
	$(BIN)/scale demo
	$(BIN)/python -m tools.gallery

# Notebooks (not executed), documentation and API as static pages in build/site; broken links fail.
site: $(STAMP)
	$(BIN)/python -m tools.book

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Offline: JupyterLab would otherwise look for updates. It refuses root, who is the user in most containers.
lab: $(STAMP)
	$(BIN)/jupyter lab notebooks --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
		$(if $(filter 0,$(shell id -u)),--allow-root)

# The stamp is newer than its sources once installed, so that a second `make` installs nothing.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or 3.12 is needed and was not found on PATH" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(if $(CPU),$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --index-url $(CPU_INDEX) torch torchvision)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf .venv runs
