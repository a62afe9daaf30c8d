"""JSON Web Tokens for PyWatt."""
