"""What turns code into a container image."""
