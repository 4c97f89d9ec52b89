"""Which image of one list of file names is which of another."""

import pytest

from roikit.trainer.file_names import pair_file_names


@pytest.mark.parametrize("ours, theirs, pairs", [
    (["b/c/a.png"], ["a.png", "c/a.png"], {"b/c/a.png": "c/a.png"}),
    (["b/c/a.png", "x/a.png"], ["a.png", "c/a.png"], {"b/c/a.png": "c/a.png", "x/a.png": "a.png"}),
    (["c/a.png"], ["a.png", "b/c/a.png"], {"c/a.png": "b/c/a.png"}),
    (["b/c/a.png", "c/a.png"], ["a.png", "c/a.png"], {"b/c/a.png": "a.png", "c/a.png": "c/a.png"}),
    (["b/c/a.png"], ["a.png", "C/a.png"], {"b/c/a.png": "a.png"}),
])
def test_law_of_several_images_the_one_of_the_longest_common_end(ours, theirs, pairs):
    assert pair_file_names(ours, {name: name for name in theirs}) == pairs
