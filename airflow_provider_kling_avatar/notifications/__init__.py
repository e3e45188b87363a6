"""Who is told when a clip fails, and in which words."""
