"""Images: what goes into them, and how a build context is laid out."""
