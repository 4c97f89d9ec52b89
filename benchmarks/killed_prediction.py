"""A prediction of several processes, one of which is killed at random moments: nothing may be lost, nothing be twice.

    python -m benchmarks.killed_prediction RUN IMAGES OUT --kills 20 --processes 2

OUT gets the files of one process, ``whole``, and those of the killed ones, ``killed``, which are compared in the end,
byte for byte. It works where there is /proc.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

OPTIONS = ("--write", "coco,csv", "--plain", "--device", "cpu")


def started(run, images, out, processes, log):
    """The command in so many processes, going on with what OUT has."""
    several = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)) * (processes > 1)
    return subprocess.Popen([sys.executable, *several, "-m", "roikit", "predict", run, images, "--out", str(out),
                             "--resume", *OPTIONS], env={"OMP_NUM_THREADS": "1", **os.environ}, stdout=log, stderr=log)


def workers(parent):
    """The ids of the processes that torchrun has started."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"\nPPid:\t{parent}\n" in Path("/proc", name, "status").read_text():
                found.append(int(name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def lines(out):
    """How many lines there are in the journal and its parts."""
    try:
        return sum(path.read_bytes().count(b"\n") for path in Path(out).glob("predictions*.jsonl"))
    except FileNotFoundError:  # a part was joined meanwhile
        return lines(out)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed_once(command, processes, out, drawn, step):
    """Kill a process after a random number of lines, or of seconds; False where the command had ended before."""
    goal, end = lines(out) + drawn.randint(1, step), time.monotonic() + 600
    moment = time.monotonic() + drawn.uniform(0, 20) if drawn.random() < 0.3 else end
    while command.poll() is None and time.monotonic() < moment and (moment != end or lines(out) < goal):
        time.sleep(0.01)
    victims = workers(command.pid) if processes > 1 else [command.pid]
    if command.poll() is not None or not victims:
        return False
    try:
        os.kill(drawn.choice(victims), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("images")
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    drawn, out, kills = random.Random(asked.seed), asked.out / "killed", 0
    asked.out.mkdir(parents=True, exist_ok=True)
    with open(asked.out / "log.txt", "ab") as log:
        started(asked.run, asked.images, asked.out / "whole", 1, log).wait()
        whole = content(asked.out / "whole")
        shutil.rmtree(out, ignore_errors=True)
        step = max(1, 2 * lines(asked.out / "whole") // max(1, asked.kills))
        while kills < asked.kills:
            command = started(asked.run, asked.images, out, asked.processes, log)
            was_killed = killed_once(command, asked.processes, out, drawn, step)
            command.wait()
            kills += was_killed
            print(f"{kills} of {asked.kills} killed, {lines(out)} lines", flush=True)
            if not was_killed and out.is_dir() and content(out) == whole:  # it was done before its time
                shutil.rmtree(out)
        started(asked.run, asked.images, out, asked.processes, log).wait()
    same = content(out) == whole
    print(f"{len(whole)} files {'are' if same else 'ARE NOT'} those of one process that nobody killed")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
