"""From maps to boxes that may hold an object, and their losses."""
