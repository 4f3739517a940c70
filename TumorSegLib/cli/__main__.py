"""``python -m TumorSegLib.cli``, the same as ``tumorseg``."""

import sys

from TumorSegLib.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
