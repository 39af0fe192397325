"""What can go wrong on a tour of the loop, in words."""


class Refused(Exception):
    """The server did not take a request."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{method} {path} was answered with {status}: {text}")
        self.status = status


class TourFailed(Exception):
    """The tour could not go on: the run that failed says why."""
