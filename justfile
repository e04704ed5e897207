# What a developer types; `just` itself comes with the development tools: uv run just check

# List the recipes
default:
    @just --list

# Install everything, with the development tools
setup:
    uv sync

# All gates, as the continuous integration runs them
check:
    bash .ci/run

# The tests only: just test -k premium
test *arguments:
    uv run pytest {{ arguments }}

# Put the code in order
format:
    uv run ruff format
    uv run ruff check --fix

# Renew what is written from the code: docs/configuration.md, .env.example, config/*.toml
generate:
    KIMP_GENERATE=1 uv run pytest tests/test_generated_files.py

# Renew the requirements locks after a change of dependencies
lock:
    .ci/lock

# Run a backtest: just backtest --preset low_entry
backtest *arguments:
    uv run kimp backtest {{ arguments }}

# Show the whole thing in a minute
demo *arguments:
    uv run kimp demo {{ arguments }}

# Run a benchmark by name, or all of them
bench name="" *arguments:
    for file in benchmarks/{{ if name == "" { "[a-z]*" } else { name } }}.py; do uv run python "$file" {{ arguments }} || exit 1; done
