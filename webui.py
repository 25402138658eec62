"""The program: `python webui.py` serves the page, `python webui.py generate "a red apple"` makes a picture without it.

`./webui.sh` sets up what this needs and then runs it.
"""

from modules.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
