"""`python -m peftbench` is the command `peftbench`."""

import sys

from peftbench.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
