/** Where a daemon's token travels. */
export const TOKEN_HEADER = 'postern-tunnel-token'
