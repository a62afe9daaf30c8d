"""Secrets in an encrypted file that can be committed, for PyWatt."""
