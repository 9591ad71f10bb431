"""Families of problems: generators with named, bounded parameters, from which studies draw their cases."""
