"""Market data in and out: feeds, collectors, database and archive."""
