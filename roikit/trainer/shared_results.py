"""The results of a prediction that several processes make together."""

import time
from pathlib import Path

from roikit.data.remote import copy_now
from roikit.trainer.failures import on_first
from roikit.trainer.journal import Journal
from roikit.trainer.parts import new_mark, part_name
from roikit.trainer.sentences import sentence_of
from roikit.trainer.shares import host_name

__all__ = ["SharedResults"]


class SharedResults:
    """Keeps the results of each process in a part of its own; the first process makes one journal of them in the end.

    It is used as `ResultFiles` is, by all processes, each of which calls `finish` when it has done its share. Where one
    of them ends before, the parts stay, and who goes on with the prediction joins them.

    Args:
        out: folder, on a disk that all processes share, or one that is copied to an address.
        about: see `Journal`.
        process: ``Process``.
        files: ``ResultFiles`` of the folder, which the first process opens.
        every: seconds after which what was noted is brought to the disk.

    Raises:
        OSError: the folder cannot be written to, or is not the same one for all processes.
        ValueError: as `Journal`. What the first process raises there the others tell as well.
    """

    def __init__(self, out, about, process, files, every=10.0):
        self._out, self._about, self._process, self._files, self._every = Path(out), about, process, files, every
        self._part, self._is_open, self._is_remote, self._synced = None, False, False, time.monotonic()

    def __enter__(self):
        try:
            self._ids, self._done, self._mark = on_first(self._process, self._open_files)
            self._open_part()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        if self._part is not None:
            self._part.close()
        if self._is_open:
            self._files.__exit__(kind, error, trace)

    def known(self):
        """`ResultFiles.known`, on every process."""
        return self._ids, self._done

    def images(self):
        """`ResultFiles.images`, on the first process."""
        return self._files.images()

    def add(self, record, results):
        """Note an image and what was found on it."""
        self._part.add(record, results)
        self._sync_in_time()

    def add_unread(self, name, number, sentence):
        """Note an image that could not be read."""
        self._part.add_fault(name, number, sentence)
        self._sync_in_time()

    def finish(self):
        """Make one journal of all parts; every process must call this.

        Raises:
            OSError: a file cannot be read, written or copied, or a process has ended.
        """
        self._part.sync()
        self._part.close()
        copy_now(self._out)  # a journal at an address tells of no file that is not there
        paths = [self._path(rank) for rank in range(self._process.world)]
        if self._is_remote:
            self._process.bring(paths[self._process.rank], paths)
        else:
            self._process.wait()
        on_first(self._process, self._files.take, paths)
        if self._process.first:
            copy_now(self._out)
        self._process.wait()
        paths[self._process.rank].unlink(missing_ok=True)

    def _open_files(self):
        self._files.__enter__()
        self._is_open = True
        return *self._files.known(), new_mark()

    def _open_part(self):
        self._is_remote, fault = copy_now(self._out), None
        try:
            self._part = Journal(self._path(self._process.rank), self._about)
        except OSError as error:
            fault = sentence_of(error)
        told = self._process.gather((host_name(), fault))
        lost = next((rank for rank, (_, fault) in enumerate(told) if fault is not None or not self._is_remote
                     and self._process.first and not self._path(rank).is_file()), None)
        lost = self._process.share_first(lost)
        if lost is None:
            return
        host, fault = told[lost]
        if host == told[0][0] and fault is not None:
            raise OSError(f"predict: process {lost} cannot write to {self._out}: {fault}")
        raise OSError(f"predict: {self._out} of process {lost} on {host} is not the folder that process 0 on "
                      f"{told[0][0]} has: out must be a folder on a disk that all machines share, or an address")

    def _path(self, rank):
        return self._out / part_name(self._mark, rank)

    def _sync_in_time(self):
        if time.monotonic() - self._synced >= self._every:
            self._part.sync()
            self._synced = time.monotonic()
