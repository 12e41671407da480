"""Pixels to markers: boxes, tracks, synchronisation, triangulation, smoothing."""
