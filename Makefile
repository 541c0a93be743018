# In an environment made by: pip install -e '.[dev]'

.PHONY: check format lint types contracts test reference

check: format lint types contracts test

format:
	ruff format --check .

lint:
	ruff check .

types:
	mypy

contracts:
	lint-imports --no-logo

test:
	pytest

# Remake what is generated from the models.
reference:
	python -m rlx.experiment.reference docs/experiments.md
	python -m rlx.cluster.reference docs/cluster.md
	rlx schema -o experiments/schema.json
