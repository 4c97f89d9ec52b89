"""Work that several threads do at once, and of which each piece is told of in the order in which it was given."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait

__all__ = ["InOrder"]


class InOrder:
    """Threads that work ahead of what is told of their work.

    ``tell`` is called in the thread that gives the work, never in two pieces at once. An exception of a piece is raised
    when its turn has come. Where something else ends the block, such as an interrupt, what has been begun is still
    finished and told; what has not is dropped.

    Args:
        threads: number of them.
        room: function -> so many pieces beside the oldest may be given and not yet told; 0 is one by one.
    """

    def __init__(self, threads, room):
        self._pool, self._room = ThreadPoolExecutor(threads, thread_name_prefix="roikit"), room
        self._waiting, self._failed = deque(), False

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is not None:
                for future, _ in self._waiting:
                    future.cancel()
            while self._waiting and not self._failed and not self._waiting[0][0].cancelled():
                self._tell_first()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, work, tell):
        """Give a piece of work, a function, and ``tell``, a function of what it returns."""
        self._waiting.append((self._pool.submit(work), tell))
        while len(self._waiting) > self._room() or self._waiting and self._waiting[0][0].done():
            self._tell_first()

    def _tell_first(self):
        future, tell = self._waiting[0]
        wait((future,))  # an interrupt here leaves it the first
        self._waiting.popleft()
        self._failed = True
        tell(future.result())
        self._failed = False
