"""The pages about clips in the UI: what is in the database, which files may be served, the routes. See docs/gallery.md."""
