# One front door: `make demo`, `make quick`, `make test`, `make setup`, `make lint`. Everything else is Snakemake.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
LOCK   := envs/requirements.txt
CONDA  := envs/cxrflow.yaml
# One environment for each lock, named by the lock's hash, as scripts in it hold its path; .venv links to the one in use.
# No rule asks for times and none deletes what it replaces: what runs from another environment goes on.
HASH   := $(shell cksum < $(LOCK) | cut -d' ' -f1)
NEW    := .venv-lock-$(HASH)
STAMP  := .venv/.installed-$(HASH)
VENV   := PATH="$$(cd .venv && pwd -P)/bin:$$PATH"

.PHONY: help setup demo demo-full quick test bench lint format site head slurm-check slurm-up slurm-down docs lock verify clean

help:   ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)   ## the .venv from the exact lock; a second call installs nothing

$(STAMP):
	@[[ "$$(readlink .venv || ls -d .venv 2> /dev/null)" =~ ^(\.venv-lock-[0-9]+)?$$ ]] || { echo ".venv is yours or shared, and it was not made from $(LOCK) as it is now, so it is left alone. When nothing runs from it, move it away (mv .venv old-venv), or remove the link (rm .venv), and run this command again"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cxrflow needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version): install one and run 'make PYTHON=/path/to/python3.12 ...'"; exit 1; }
	@[ -e $(NEW)/$(@F) ] || mkdir $(NEW) || { echo "another make is installing into $(NEW), or was killed there: wait for it, or run 'rm -rf $(NEW)', and run this command again"; exit 1; }
	[ -e $(NEW)/$(@F) ] || { trap 'rm -rf $(NEW)' EXIT; \
	  $(PYTHON) -m venv --prompt cxrflow $(NEW); \
	  $(NEW)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LOCK); \
	  touch $(NEW)/$(@F); trap - EXIT; }
	ln -sfn $(NEW) .venv.new && $(PYTHON) -c 'import os; os.replace(".venv.new", ".venv")'
	@for old in $$(ls -d .venv-lock-* | grep -vx $(NEW)); do echo "$$old is kept: remove it when nothing runs from it"; done

demo: $(STAMP)   ## the whole study on synthetic X-rays: no data, no GPU, no network (minutes)
	$(VENV) snakemake --profile profiles/demo

demo-full: $(STAMP)   ## the demo with an ablation, a search for settings, and the folders that read new X-rays
	$(VENV) snakemake --profile profiles/demo --configfile config/demo.yaml config/demo-full.yaml -- tune
	$(VENV) snakemake --profile profiles/demo --configfile config/demo.yaml config/demo-full.yaml -- all deliver

quick: $(STAMP)   ## the tests that take under two minutes on two cores
	$(VENV) python -m pytest -n auto -m "not slow" --ignore tests/slurm

test: $(STAMP)   ## every test; what is skipped, and why, is listed at the end
	@# The tests on a Slurm mostly wait, so they run beside the others; what they say comes last.
	said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	  $(VENV) python -m pytest -n 6 tests/slurm > "$$said" 2>&1 & slurm=$$!; \
	  $(VENV) python -m pytest -n auto --ignore tests/slurm && failed= || failed=yes; \
	  wait $$slurm || failed=yes; cat "$$said"; [ -z "$$failed" ]

bench: $(STAMP)   ## how fast, against others: one table (ARGS="--quick --rows gradcam,tsne")
	$(VENV) python -m tests.benchmarks.run $(ARGS)

lint: $(STAMP)   ## ruff, mypy, snakefmt and snakemake --lint, at the lock's versions
	$(VENV) ruff check .
	$(VENV) ruff format --check .
	$(VENV) mypy
	$(VENV) snakefmt --check Snakefile workflow
	$(VENV) snakemake --lint --configfile=config/demo.yaml

format: $(STAMP)   ## rewrite Python and Snakemake files in the project's style
	$(VENV) ruff check --fix .
	$(VENV) ruff format .
	$(VENV) snakefmt Snakefile workflow

slurm-up: $(STAMP)   ## a throwaway Slurm cluster on this machine, to try things by hand (root, Debian)
	$(VENV) python tests/slurm/cluster.py up /tmp/cxrflow-slurm

slurm-down: $(STAMP)   ## end it and remove all of it
	$(VENV) python tests/slurm/cluster.py down /tmp/cxrflow-slurm

docs: $(STAMP)   ## config/README.md and the config's schema, from the settings' one definition
	$(VENV) python scripts/document_settings.py --readme config/README.md --schema workflow/schemas/config.schema.json

lock: $(STAMP)   ## resolve pyproject.toml anew into the exact lock
	uv=$$(mktemp -d); trap 'rm -rf "$$uv"' EXIT; \
	  $(VENV) python -m pip install --quiet --disable-pip-version-check --target "$$uv" uv; \
	  "$$uv"/bin/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --group dev pyproject.toml -o $(LOCK)
	sed -i '1i # The exact lock of every package, for Python 3.11 and newer. Made by `make lock` from pyproject.toml; do not edit.' $(LOCK)
	$(MAKE) --no-print-directory $(CONDA)

$(CONDA): $(LOCK)
	{ echo '# The same pins as requirements.txt, for --sdm conda. Made by `make lock`; do not edit.'; \
	  printf 'channels: [conda-forge]\ndependencies:\n  - python=3.12\n  - pip\n  - pip:\n'; \
	  grep -v '^#' $(LOCK) | sed 's/.*/      - "&"/'; } > $@.new
	mv $@.new $@

site: $(STAMP)   ## write what this Slurm cluster is like into profiles/slurm/site.yaml; what a person wrote stays
	@$(VENV) python scripts/slurm_site.py

head: $(STAMP)   ## a study on a cluster without a login node: STUDY=config/lungs.yaml, sbatch's options in HEAD_OPTIONS
	@[ -e "$(STUDY)" ] || { echo "say which study: make head STUDY=config/lungs.yaml"; exit 1; }
	sbatch $(HEAD_OPTIONS) profiles/slurm/head.sbatch $(STUDY) $(ARGS)

slurm-check: $(STAMP)   ## what a Slurm cluster and this folder lack for a study, before any job
	@$(VENV) python scripts/slurm_check.py

verify: $(STAMP)   ## read every file of every study in results/ and name what was changed, damaged or lost
	@$(VENV) python scripts/verify.py --results results

clean:   ## the environments and the demo's results; refused while something runs from them
	@[ -z "$$(ls -A .snakemake/locks 2> /dev/null)" ] || { echo "a Snakemake works in this folder: wait for it. If it was killed: python scripts/recover.py"; exit 1; }
	@users=$$(pwd -P | sed 's,$$,/.venv,' | grep -aslF -f - /proc/[0-9]*/{cmdline,maps} | cut -d/ -f3 | sort -un | xargs) || :; \
	  [ -z "$$users" ] || { echo "these processes run from the environment: $$users. Wait for them or end them, and run this command again"; exit 1; }
	rm -rf .venv .venv-lock-* results/demo
