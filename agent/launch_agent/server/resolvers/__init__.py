"""What answers each field of schema.graphql, one file per subject; `documents` puts them together."""
