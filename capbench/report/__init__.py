"""What people read: reports as pages that stand alone."""
