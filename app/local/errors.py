"""The one error of `app.local`: something on this machine has to change before Hone can start.

Knows only its own name; each message is written where the cause is known.
"""


class CannotStart(Exception):
    """Its message is whole sentences for the person at the terminal: what failed, what is safe, what to do."""
