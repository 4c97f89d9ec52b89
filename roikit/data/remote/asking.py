"""Asking a server, again and again with a wait between: a while without an answer is no reason to end a long work."""

import time

__all__ = ["ATTEMPTS", "WAITS", "ask", "filesystem"]

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds
ATTEMPTS = len(WAITS) + 1


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

    Raises:
        FileNotFoundError: there is nothing at the address.
        PermissionError: it may not be read or written.
        OSError: there was no answer in `ATTEMPTS` attempts, or its kind of server cannot do this.
        ImportError, ValueError: as `filesystem`.
    """
    fs, name = filesystem(address)
    begun = time.monotonic()
    for wait in (*WAITS, None):
        try:
            return question(fs, name)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is nothing at {address}") from error
        except PermissionError as error:
            raise PermissionError(f"{address} may not be accessed: {_words(error)}") from error
        except (NotImplementedError, IsADirectoryError, NotADirectoryError) as error:
            raise OSError(f"{address} cannot be asked: {_words(error)}") from error
        except MemoryError:
            raise
        except Exception as error:  # each server's library has errors of its own
            if wait is None:
                raise OSError(f"{address} could not be reached in {ATTEMPTS} attempts and "
                              f"{time.monotonic() - begun:.0f} s: {_words(error)}") from error
        time.sleep(wait)


def _words(error):
    return " ".join(str(error).split())[:300] or type(error).__name__
