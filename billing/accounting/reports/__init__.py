"""What finance reads: ageing of receivables, outstanding credit, revenue by month. All of it from the ledger."""
