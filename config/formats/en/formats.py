"""Django reads these names. All times of the site are UTC, and each one says so."""

DATE_FORMAT = SHORT_DATE_FORMAT = "j M Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = SHORT_DATETIME_FORMAT = r"j M Y H:i \U\T\C"
