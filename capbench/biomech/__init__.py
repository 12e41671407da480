"""Musculoskeletal models: from markers to joint angles. OpenSim's own tools serve as the reference."""
