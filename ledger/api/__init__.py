"""The ledger over HTTP, for services and finance, to read: balances, statements, entries, at any pair of instants."""
