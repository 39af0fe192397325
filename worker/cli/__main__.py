import sys

from worker.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
