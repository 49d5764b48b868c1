"""All models of a study together: what they wrote is collected, paired and compared."""
