"""The live shell around the pure engine: inbox, journal, mirror, reconciliation, preflight, supervision."""
