"""What can be wrong with a cohort, one module per part of it; :mod:`cohorts.check` asks them all."""
