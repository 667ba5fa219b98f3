"""API keys with scopes, for services that send usage or ask about billing."""
