"""
Waiting for tasks and for free slots: what to do after each look, how often to look, whose turn it is.

`decide` is the only state machine. Nothing in here creates a task or pays for one.
"""
