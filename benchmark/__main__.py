"""``python -m benchmark``."""

import sys

from benchmark.cli import main

sys.exit(main(sys.argv[1:]))
