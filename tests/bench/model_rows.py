"""What processes of `benchmarks.model_rivals` may do. Free of roikit, because they import this file alone."""

import os
import time


def runs(there):
    there.send({"ready": "it runs"})
    while there.recv():
        there.send({"seconds": 2.0, "faults": 7, "most": 3_000_000})


def dies(there):
    there.send({"ready": ""})
    there.recv()
    os._exit(3)


def breaks(there):
    there.send({"failed": "No module named 'other'"})


def sleeps(there):
    time.sleep(60)
