"""The demo: a month of a made-up company's usage, billed to the end. `python -m config.demo`."""
