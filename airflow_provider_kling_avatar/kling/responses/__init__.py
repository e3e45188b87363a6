"""
What an answer means, whichever API gave it: tasks, lists and speech, or an error.

Knows the shapes that vendors and gateways are known to use. Sends nothing and decides nothing.
"""
