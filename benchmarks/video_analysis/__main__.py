"""``python -m benchmarks.video_analysis``: see measure.py."""

from benchmarks.video_analysis.measure import main

main()
