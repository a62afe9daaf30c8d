"""The wire core: bytes become typed messages, tables say what is legal. No I/O, no clock, no chance.

To be read in this order: `messages` (what travels), `tables` (who may send what when), `session` (the two ends), `exchanges`
and `operations` (which message answers which), `framing` (bytes to payloads), `codec` (payloads to messages), `lenient`
and `initline` (what is tolerated, and what is not).
"""
