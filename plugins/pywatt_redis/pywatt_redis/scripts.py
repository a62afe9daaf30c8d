"""What has to happen at once on the server, in its own language."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Any

from .failures import NoScript

if TYPE_CHECKING:
    from .cache import Commands


class Script:
    """A script, known to the server by the digest of its text once it has seen it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, commands: Commands, keys: tuple[bytes, ...], *arguments: bytes | str | int, again: bool = False) -> Any:
        """What the script returns; `again` says that it may run twice."""
        try:
            return await commands.execute("EVALSHA", self._digest, len(keys), *keys, *arguments, again=again)
        except NoScript:
            return await commands.execute("EVAL", self._text, len(keys), *keys, *arguments, again=again)


INCREMENT = Script("""
local fresh = redis.call('EXISTS', KEYS[1]) == 0
local total = redis.call('INCRBY', KEYS[1], ARGV[1])
if fresh then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total
""")
"""Add ARGV[1] to KEYS[1], which lives ARGV[2] milliseconds where it was not there."""

ACQUIRE = Script("""
local holder = redis.call('GET', KEYS[1])
if holder then
  if holder == ARGV[1] then return tonumber(redis.call('GET', KEYS[2])) end
  return nil
end
local now = redis.call('TIME')
local token = now[1] * 1000000 + now[2]
local latest = tonumber(redis.call('GET', KEYS[2]) or '0')
if token <= latest then token = latest + 1 end
redis.call('SET', KEYS[2], string.format('%.0f', token), 'PX', ARGV[3])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return token
""")
"""Give the lock KEYS[1] to the owner ARGV[1] for ARGV[2] milliseconds and return its token; nil where another has it.

The token is the server's time in microseconds, or one more than the one before, which KEYS[2] remembers for ARGV[3] milliseconds: so
that tokens grow though the server forgets everything, and though its clock is put back.
"""

EXTEND = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local left = redis.call('PTTL', KEYS[2])
if left < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
"""Hold the lock KEYS[1] of the owner ARGV[1] for ARGV[2] milliseconds from now; 0 where it is not his."""

RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
"""Free the lock KEYS[1] of the owner ARGV[1]; 0 where it is not his."""
