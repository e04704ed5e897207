"""Markets behind the virtual exchange: simulated, replayed, or mirrored from the live ones."""
