"""
From a request to the one task that is paid for it, over all tries.

`request` checks it, `identity` names it, `recovery` finds out what earlier tries bought, `submit` sends the paid call.
"""
