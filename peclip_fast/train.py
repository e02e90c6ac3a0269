"""``python -m peclip_fast.train`` is ``peclip-fast train``."""

import sys

from peclip_fast.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
