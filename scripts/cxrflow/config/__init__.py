"""Names and settings: what can be set, what each name means, and the study that follows from a config."""
