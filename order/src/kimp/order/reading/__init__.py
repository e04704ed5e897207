"""What the owner reads: figures computed from the journal and from the record of what was considered."""
