"""What other people wrote, as the cell of a CSV file. Pure, and a leaf: every app's downloads may use it."""

# A spreadsheet takes text that begins like this for a formula, and would run what somebody wrote into it
# (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe_text(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet would run it."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
