"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections import deque

__all__ = ["Progress", "duration"]


def duration(seconds):
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, seconds = divmod(int(round(max(0.0, seconds))), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Shows steps, the time left, loss, images a second and the share of waiting for data.

    Speeds are means over the last 50 steps; the time left counts the steps alone, without the
    evaluations between them.

    Args:
        total: steps of the whole run.
        step: steps done already.
        show: False for silence (all processes but the first).
        every: seconds between plain lines.
        stream: where to write; default standard error.
    """

    def __init__(self, total, step=0, *, show=True, every=10.0, stream=None):
        self.total, self.show, self.every = total, show, every
        self.stream = stream or sys.stderr
        self._recent = deque(maxlen=50)
        self._loss = deque(maxlen=20)
        self._last = time.monotonic() - every  # the first step is shown
        self._bar = self._make_bar(step) if show and self.stream.isatty() else None

    def _make_bar(self, step):
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm(total=self.total, initial=step, file=self.stream, dynamic_ncols=True,
                    bar_format="{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {postfix}")

    def step(self, record):
        """Take in the record of one step."""
        self._recent.append((record["seconds"], record["data_seconds"], record["images"]))
        self._loss.append(record["loss"])
        if not self.show:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(self.text(record), refresh=False)
            self._bar.update(1)
            return
        now = time.monotonic()
        if now - self._last >= self.every or record["step"] == self.total:
            self._last = now
            width = len(str(self.total))
            print(f"step {record['step']:{width}}/{self.total}  {self.text(record)}",
                  file=self.stream, flush=True)

    def text(self, record):
        """``eta 3:12  loss 1.234  lr 0.005  7.8 img/s  data 2%``."""
        seconds, data, images = map(sum, zip(*self._recent, strict=True))
        left = (self.total - record["step"]) * seconds / len(self._recent)
        return (f"eta {duration(left)}  loss {sum(self._loss) / len(self._loss):.4f}  "
                f"lr {record['lr']:.3g}  {images / max(seconds, 1e-9):.2f} img/s  "
                f"data {100 * data / max(seconds, 1e-9):.0f}%")

    def say(self, text):
        """A line of its own."""
        if not self.show:
            return
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def close(self):
        if self._bar is not None:
            self._bar.close()
