"""Output folders at addresses, for the functions that write one."""

import functools

from roikit.data.remote import kept_at

__all__ = ["writes_to_addresses"]


def writes_to_addresses(journal=None, looks=False, parts=None):
    """Makes the keyword ``out`` of a function take an address: it gets a folder of this machine, copied there.

    Args:
        journal, parts: see `kept_at`. With ``parts`` each process of a function's ``process`` copies its own files.
        looks: whether it looks at what ``out`` has even without ``resume``, to refuse it say.
    """
    def decorate(function):
        @functools.wraps(function)
        def written(*args, out=None, **options):
            each = parts is not None and options.get("process") is not None
            with kept_at(out, go_on=looks or options.get("resume", False), journal=journal, parts=parts,
                         each=each) as folder:
                return function(*args, out=folder, **options)

        return written

    return decorate
