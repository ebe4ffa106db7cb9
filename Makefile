# The three commands a newcomer types: make demo, make test, make lab.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test test-notebooks test-browser notebooks lab lint clean

demo: $(STAMP)
	$(BIN)/scale demo

# One thread a process: two processes of two threads each wait for one another on two cores, and
# small trainings then take ten times as long.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	$(MAKE) test-notebooks

# The demo's model is shared by all notebooks; without it the first one would train it. Bars that a
# slow machine shows and a fast one does not are off.
test-notebooks: $(STAMP)
	$(BIN)/scale demo
	TQDM_DISABLE=1 $(BIN)/python -m pytest notebooks -n 2 --dist loadfile --nbval --nbval-current-env \
		--nbval-cell-timeout 240 --nbval-sanitize-with notebooks/sanitize.cfg

# Explorers in a real JupyterLab and in Voilà. Needs Debian's chromium and fonts-noto-cjk; pictures of
# what the tests saw lie in build/browser.
test-browser: $(STAMP)
	$(BIN)/scale demo
	$(BIN)/python -m pytest tests/browser

# From notebooks/src; ONLY="09 13" makes some.
notebooks: $(STAMP)
	$(BIN)/python tools/notebooks.py $(ONLY)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Nothing is asked of the network: JupyterLab would look for its own updates.
lab: $(STAMP)
	$(BIN)/jupyter lab notebooks --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

# The stamp is newer than what it was installed from, so a second `make` installs nothing.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or 3.12 is needed and was not found on PATH" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf .venv runs
