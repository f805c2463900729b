"""The one exception whose message is written for the person at the keyboard."""


class LoupeError(Exception):
    """Bad input or a state the user can mend. The message is one sentence that names the file or key and the way out."""
