"""The disk cache: a store of entries, what a key is made of, fingerprints of functions."""
