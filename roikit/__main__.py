"""``python -m roikit`` is the command ``roikit``."""

from roikit.cli import main

if __name__ == "__main__":
    main(prog_name="python -m roikit")
