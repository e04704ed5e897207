"""What passes between the engine and the world: events in, effects out, records kept, notices told."""
