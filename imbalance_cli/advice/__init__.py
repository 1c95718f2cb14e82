"""What to try on a data set, what not to, and why."""
