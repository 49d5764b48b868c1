"""All models together: tables, figures, the report's claims, and the page."""
