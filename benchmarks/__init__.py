"""asv benchmarks of roikit's public names: `asv run --config benchmarks/asv.conf.json`."""
