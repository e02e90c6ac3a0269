"""``python -m peclip_fast`` is the script ``peclip-fast``."""

from peclip_fast.commands.shared.main import script

if __name__ == "__main__":
    script()
