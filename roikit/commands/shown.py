"""How far a command is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time

__all__ = ["shown_progress"]


def shown_progress(words, items, *, stream=None, every=10.0):
    """Give items on, and show how many were.

    Args:
        words: what they are, in the plural.
        items: sequence.
        stream: where to write; default standard error.
        every: seconds between lines where that is no terminal.

    Yields:
        the items.
    """
    stream = sys.stderr if stream is None else stream
    bar = _bar(words, items, stream) if stream.isatty() else None
    if bar is not None:
        yield from bar
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if not done & 0xFF and (now := time.monotonic()) - last >= every:
            last = now
            print(f"{done} of {len(items)} {words}", file=stream, flush=True)
        yield item


def _bar(words, items, stream):
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(items, total=len(items), file=stream, dynamic_ncols=True, unit=f" {words}", leave=False, delay=1)
