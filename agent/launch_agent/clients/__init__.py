"""The ways out of the process that several parts share."""
