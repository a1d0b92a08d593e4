"""cases: requests for support and cases about learners; every look and every change is an event."""
