"""Attackers against one real worker, beside a chat and a health check that are timed."""
