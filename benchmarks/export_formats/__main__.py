"""``python -m benchmarks.export_formats``: see measure.py."""

from benchmarks.export_formats.measure import main

main()
