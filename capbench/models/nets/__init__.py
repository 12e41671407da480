"""Our own networks, whose parameter names accept published checkpoints."""
