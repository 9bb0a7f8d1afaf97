#!lua flags=allow-oom
-- Writes, and leaves nothing behind: what WAITAOF waits for. KEYS[1]: a key that nobody uses.
redis.call('SET', KEYS[1], '')
redis.call('DEL', KEYS[1])
