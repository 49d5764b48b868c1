"""A trained model as one file that reads new X-rays: exported with torch, run without it."""
