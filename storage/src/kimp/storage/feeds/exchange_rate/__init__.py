"""Won per dollar and won per tether, each with the time until which it may be used, and never a made-up one."""
