"""Which kernels are right and fast on this machine, found out by running them.

A kernel is checked in a process of its own (`child`), which may crash, hang or write anywhere: its
parent (`process`) waits no longer than the limit and writes down what came of it. `proof` is what
has to hold, `race` takes the times, `store` keeps the verdicts, and `settle` goes through all of it
and has ``auto`` choose accordingly.
"""
