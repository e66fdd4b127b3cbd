"""The parts of `diagnose`: one file for each kind of evidence."""
