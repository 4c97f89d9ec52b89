"""Large annotation files: read in pieces, kept in columns, and the columns in a file that is mapped the next time."""
