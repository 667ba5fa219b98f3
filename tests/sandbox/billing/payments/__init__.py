"""Money that moves: cards, intents, charges, retries, refunds, disputes, balance transactions, payouts."""
