"""All models together: tables, figures, checks, and the page."""
