"""Make the bundled sample recordings again, or write them into another folder."""

from __future__ import annotations

import sys
from pathlib import Path

import samples
from training.errors import EspeakMissing
from training.samples.make import make_all

if __name__ == "__main__":
    try:
        make_all(Path(sys.argv[1]) if len(sys.argv) > 1 else samples.FOLDER)
    except EspeakMissing as missing:
        sys.exit(str(missing))
