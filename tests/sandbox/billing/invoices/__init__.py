"""Invoices: lines and the sums over them, discounts, taxes, finalisation, credit notes, the customer balance."""
