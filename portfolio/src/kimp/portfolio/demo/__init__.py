"""The trader that trades live, on venues that live on this machine's network, an hour of market in a minute."""
