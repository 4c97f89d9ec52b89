"""Files and folders at addresses, ``s3://bucket/images`` say, of any kind that fsspec knows.

What is at an address is brought to a folder of this machine, the mirror, and is read there as any other file is. So
whoever takes a path takes an address by `local_path`, and knows nothing else of them. fsspec is asked in this folder
alone.
"""

from roikit.data.remote.addresses import address_of, is_address, require_path
from roikit.data.remote.mirror import beside, bring_below, local_path, local_paths
from roikit.data.remote.results import copy_now, kept_at, mirror_of_results

__all__ = ["address_of", "beside", "bring_below", "copy_now", "is_address", "kept_at", "local_path", "local_paths",
           "mirror_of_results", "require_path"]
