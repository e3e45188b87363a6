"""The pages about clips in the UI: what the database tells, which files may be served, the routes."""
