"""The only code that can spend money: one adapter per venue behind the ``Exchange`` port."""
