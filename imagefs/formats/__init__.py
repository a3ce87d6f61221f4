"""Layer formats, from bytes to one TOC model. Opens no file."""
