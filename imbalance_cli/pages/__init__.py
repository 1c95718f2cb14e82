"""Runs and studies as web pages that need no network."""
