"""The ledger's pages: read, follow, download, never edit. Importing the modules registers them."""

from ledger.admin import accounts, entries, periods, seals

__all__ = ["accounts", "entries", "periods", "seals"]
