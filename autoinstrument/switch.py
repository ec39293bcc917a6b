"""Words that switch something on or off in an `AUTOINSTRUMENT_*` variable.

The start-up files load this module wherever `AUTOINSTRUMENT_ENABLED` has a value: it imports nothing.
"""

ON = ("1", "true", "yes", "on")
OFF = ("0", "false", "no", "off")


def is_on(word):
    # type: (str) -> bool
    """Return True if the word means "on", whatever its case and the blanks around it."""
    return word.strip().lower() in ON
