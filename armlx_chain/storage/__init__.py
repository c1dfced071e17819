"""Root in, verified bytes out: content-addressed storage."""
