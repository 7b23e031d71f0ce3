"""`python -m lab.qdrant_standin`: the stand-in from the checkout."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
