"""``python -m peclip_fast.train`` is ``peclip-fast train``."""

import sys

from peclip_fast.commands.shared.main import script

if __name__ == "__main__":
    script(["train", *sys.argv[1:]])
