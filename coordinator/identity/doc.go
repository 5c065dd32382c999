// Package identity says who calls. It owns the coordinator's certificate authority, the tokens of people and of joining agents,
// and the interceptors that turn either into a Principal.
//
//	people    bearer token   → Principal{User}    only the token's hash is in the store
//	agents    join token     → a certificate of at most 24 h with id, pool and labels → Principal{Agent}
//	servers   a certificate for the configured host names, made at start, replaced in process
//
// The CA's key is a file that only its owner can read. The same key, through HKDF, makes tokens out of request ids, so that a
// repeated CreateToken answers the same token although the store has nothing but its hash.
package identity
