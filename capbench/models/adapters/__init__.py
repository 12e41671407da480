"""One module for each way to run a model; each has ``open(card, folder, ...)``."""
