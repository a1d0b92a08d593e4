"""Database migrations, dated and run by Alembic; each service's tables live in its own schema."""
