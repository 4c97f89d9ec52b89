"""The commands of `roikit`, a file each. Each is a thin face of a function of roikit."""
