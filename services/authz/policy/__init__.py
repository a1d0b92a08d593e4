"""The policy: a Casbin model and the role matrix, one row per clause and part."""
