"""The one error of this package."""


class EnvError(ValueError):
    """Say that an environment cannot be used, why, and what to do next.

    The text is a whole message for the user: callers print it as it is.
    """
