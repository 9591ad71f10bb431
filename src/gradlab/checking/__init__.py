"""A run of one's own against the theorems: what they assume is measured, and what they say where they apply."""
