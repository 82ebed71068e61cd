"""The one exception that tells a user his input was refused."""


class InputError(ValueError):
    """What was handed in is absent, unfinished or malformed.

    The command line prints its message as one line and exits with status 2;
    any other exception is a failure while running and exits with status 1.
    Messages say the rule, what was received, and what to do.
    """
