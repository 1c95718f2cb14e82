"""The field's methods, one function each, one file a kind."""
