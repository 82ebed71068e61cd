"""`python -m tfplugin COMMAND`."""

import sys

from tfplugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
