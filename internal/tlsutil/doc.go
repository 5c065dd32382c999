// Package tlsutil is the part of Slipway's transport security that coordinators, agents and the CLI share: keys and signing
// requests, TLS configurations, what an agent's certificate says of it, and how a token pins its coordinator's CA.
//
// Everything is TLS 1.3 with ECDSA P-256. There is no insecure mode.
package tlsutil
