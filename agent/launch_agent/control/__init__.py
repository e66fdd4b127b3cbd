"""The control flow: who is made of what (`wiring`), and what happens when (`loop`, `pipeline`, `tracker`)."""
