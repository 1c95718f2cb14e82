"""Where images come from, which of them are taken, and how they reach the model."""
