"""Asking a server, again and again with a wait between: a while without an answer is no reason to end a long work."""

import errno
import time

__all__ = ["WAITS", "ask", "filesystem"]

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before the second attempt, the third, ...
PATIENCE = 60.0  # seconds after which no attempt is begun, for libraries make attempts of their own within one

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))  # of this machine

_silent = set()  # servers whose last question had no answer in all attempts: the next has one attempt


def filesystem(address):
    """fsspec's file system of an address, and what that calls the address.

    Raises:
        ImportError: fsspec is missing, or the package for this kind of address.
        ValueError: there is no such kind of address, or its options are wrong.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f"{address} is an address, which needs fsspec: pip install 'roikit[remote]'") from error
    try:
        return url_to_fs(address)
    except ImportError as error:
        raise ImportError(f"{address} needs a package that is not installed: {error}") from error
    except Exception as error:
        raise ValueError(f"{address} cannot be asked: {_words(error)}") from error


def ask(address, question):
    """The answer of ``question(fs, name)`` for an address; an error but one that is an answer is tried again.

    Six attempts are made, until a minute has passed; one, of a server that has answered none of those of the question
    before, so that a list of many files comes to its end.

    Raises:
        FileNotFoundError: there is nothing at the address.
        PermissionError: it may not be read or written.
        OSError: there was no answer in all attempts, or its kind of server cannot do this.
        ImportError, ValueError: as `filesystem`.
    """
    fs, name = filesystem(address)
    server, begun = tuple(address.split("/")[:3]), time.monotonic()
    for attempt, wait in enumerate((*WAITS, None), start=1):
        try:
            answer = question(fs, name)
            _silent.discard(server)
            return answer
        except FileNotFoundError as error:
            if not _is_outage(error.__cause__):
                raise FileNotFoundError(f"there is nothing at {address}") from error
            failure = error.__cause__
        except PermissionError as error:
            raise PermissionError(f"{address} may not be accessed: {_words(error)}") from error
        except (NotImplementedError, IsADirectoryError, NotADirectoryError) as error:
            raise OSError(f"{address} cannot be asked: {_words(error)}") from error
        except MemoryError:
            raise
        except Exception as error:  # each server's library has errors of its own
            if getattr(error, "errno", None) in _FULL:
                raise
            failure = error
        spent = time.monotonic() - begun
        if wait is None or spent > PATIENCE or server in _silent:
            _silent.add(server)
            attempts = f"{attempt} attempt{'s' * (attempt > 1)}"
            raise OSError(f"{address} could not be reached in {attempts} and {spent:.0f} s: {_words(failure)}"
                          ) from failure
        time.sleep(wait)


def _is_outage(cause):
    """Whether a library says that a file is not there since nobody could be asked, as fsspec's of the web does."""
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return status >= 500
    return (isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
            or type(cause).__module__.partition(".")[0] in ("aiohttp", "asyncio"))


def _words(error):
    return " ".join(str(error).split())[:300] or type(error).__name__
