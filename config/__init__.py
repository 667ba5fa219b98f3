"""Settings, addresses, queues, API keys, and the embedded services the other rooms stand on."""
