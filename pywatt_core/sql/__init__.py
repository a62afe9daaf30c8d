"""What SQL databases share: options and addresses, rows as the caller's types, taking turns, the log of slow statements.

A plugin for a database server uses these rooms and adds what only its driver knows. How parameters are marked is in
`pywatt_core.statements`, the contract that all of them pass in `pywatt_core.testing.contracts`.
"""
