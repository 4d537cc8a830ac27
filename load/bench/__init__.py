"""What the exchange costs, measured in one run on one machine: `python -m load.bench`."""
