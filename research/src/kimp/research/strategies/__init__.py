"""The strategies: when to enter, when to leave, and which windows of the past they look at."""
