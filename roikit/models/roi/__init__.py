"""What is asked of a proposed box: class, place, mask and more."""
