"""Worker processes of the Python benchmarks: the cases, the libraries that run them, and the probe of the machine."""
