"""Collectors: what the venues stream and publish, written down around the clock, with every missing minute explained.

Each collector turns the events of its own feed into rows and hands them to the writer; a supervisor restarts whichever
dies. ``kimp collect`` wires them in :mod:`kimp.storage.collectors.program`.
"""
