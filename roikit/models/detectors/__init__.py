"""The systems, each in a file that reads like its paper's figure."""
