"""The embedded queue server: the backend's protocol on SQLite or PostgreSQL, for tests and small teams."""
