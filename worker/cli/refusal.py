"""What a call can end with before anything is begun."""


class Wrong(Exception):
    """What a person has to change before this can run, in one sentence."""
