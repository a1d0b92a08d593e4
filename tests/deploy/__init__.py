"""Claims about what is deployed beside the services: metrics, alerts, who is told."""
