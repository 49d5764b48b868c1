"""All models together: tables, figures and the page."""
