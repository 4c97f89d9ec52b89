"""What processes of a rival may do. Free of roikit, because they import this file alone."""

import os
import time


def dies(there, rival, settings, seconds, done):
    """A process that ends in the first of two curves, and takes the other when it is begun again."""
    name = "first" if not done else "second"
    there.send({"begin": name})
    if name == "first":
        os._exit(3)
    there.send({"curve": name, "n": 10})
    there.send(None)


def sleeps(there, rival, settings, seconds, done):
    there.send({"begin": "first"})
    time.sleep(60)
