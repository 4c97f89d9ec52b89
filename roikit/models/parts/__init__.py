"""What bodies, necks, proposals and heads have in common."""
