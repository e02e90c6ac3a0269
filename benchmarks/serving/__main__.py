"""``python -m benchmarks.serving``: see measure.py."""

from benchmarks.serving.measure import main

main()
