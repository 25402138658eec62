"""`python -m tools.starter [stage ...] --out DIR`: makes the starter checkpoint, or runs single stages of it."""

from tools.starter.cli import main

if __name__ == "__main__":
    main()
