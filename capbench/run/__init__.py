"""The run: what needs the engine and the scores together, in stages whose results are kept."""
