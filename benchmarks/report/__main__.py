"""``python -m benchmarks.report``: see documents.py."""

import sys

from benchmarks.report.documents import main

sys.exit(main())
