.PHONY: help install test test-fast test-slow faults lint format docs docs-serve bench ci

help:
	@echo 'make install     install for working on it, with the linters and the documentation'
	@echo 'make test        all tests; test-fast and test-slow are the two parts'
	@echo 'make faults      damage files and kill trainings for an hour, see docs/reliability.md'
	@echo 'make lint        ruff and mypy; format lets ruff change the files'
	@echo 'make docs        build the documentation strictly; docs-serve shows it'
	@echo 'make bench       measure the whole model and make the tables anew'
	@echo 'make ci          what CI runs, in a fresh environment'

install:
	pip install -e '.[dev,docs]'

test:
	pytest -n auto

test-fast:
	pytest -m 'not slow' -n auto

test-slow:
	pytest -m slow -n auto

faults:
	PYTHONPATH=tests python -m faults

lint:
	ruff check .
	ruff format --check .
	mypy

format:
	ruff check --fix .
	ruff format .

docs:
	mkdocs build --strict

docs-serve:
	mkdocs serve

bench:
	python -m benchmarks.pe_clip
	python -m benchmarks.report

ci:
	.ci/run
