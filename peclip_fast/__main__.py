"""``python -m peclip_fast`` is the script ``peclip-fast``."""

import sys

from peclip_fast.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
