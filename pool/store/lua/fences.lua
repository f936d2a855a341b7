-- fences(epoch...) → {identity, epochs}
--
-- For whoever looks at many pools often: who this server is, and the epochs as they stand, a
-- line each, empty where there is none. As one text, because thousands of replies would take
-- the caller longer to read than all the rest.

local epochs = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do epochs[i] = epochs[i] or '' end
return {server_identity(), table.concat(epochs, '\n')}
