"""``python -m benchmarks.compile_checks``: see resources.py."""

from benchmarks.compile_checks.resources import main

if __name__ == "__main__":  # not in the processes that compile
    main()
