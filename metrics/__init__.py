"""Every score: numbers in, numbers out. Imports numpy and scipy only."""
