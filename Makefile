# What a contributor needs, with the environment of the README's second command in .venv.
.PHONY: test check docs coverage hooks

test:  ## the tests
	.venv/bin/pytest

check:  ## style, types, and the tests
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/pytest

docs:  ## the documentation, in build/docs
	.venv/bin/sphinx-build -W -n -q docs build/docs

coverage:  ## the tests, with the lines and branches that they reach
	.venv/bin/pytest --cov

hooks:  ## ruff and mypy before each commit
	.venv/bin/pip install pre-commit
	.venv/bin/pre-commit install
