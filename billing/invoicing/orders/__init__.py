"""Invoices of our own making: ordered with all they say, made at Stripe, finished by the steps of every close."""
