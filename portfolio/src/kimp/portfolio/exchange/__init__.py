"""The virtual exchange: matching of the simulated venue behind the ``Exchange`` port and on the venues' own wire."""
