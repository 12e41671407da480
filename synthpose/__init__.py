"""Synthetic people and the training of dense anatomical keypoints."""
