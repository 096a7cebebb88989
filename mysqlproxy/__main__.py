"""``python -m mysqlproxy``."""

import sys

from mysqlproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
