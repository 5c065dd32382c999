package tlsutil

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// A token is PREFIX_SECRET_PIN: what it is for, 256 random bits, and the SHA-256 of the coordinator CA's public key, both
// base64url without padding. The pin lets its holder recognise the coordinator without a CA file.
const (
	// UserToken begins a token that people and their tools show.
	UserToken = "slu"
	// JoinToken begins a token that lets an agent join.
	JoinToken = "slj"
	// AttemptToken begins a token that an attempt shows for its blobs, artifacts and logs. It has no pin.
	AttemptToken = "sla"
)

// encodedLen is the length of 32 bytes in base64url without padding.
const encodedLen = 43

// PinOf returns the pin of a CA: the SHA-256 of its SubjectPublicKeyInfo (RFC 7469), base64url without padding.
func PinOf(ca *x509.Certificate) string {
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// NewToken makes a random token with the prefix; pin may be "".
func NewToken(prefix, pin string) (string, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	return FormatToken(prefix, secret, pin), nil
}

// FormatToken writes a token with a secret of the caller's.
func FormatToken(prefix string, secret [32]byte, pin string) string {
	token := prefix + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
	if pin != "" {
		token += "_" + pin
	}
	return token
}

// TokenPin returns the CA pin in a user or join token; ok is false if the token is not of that form.
func TokenPin(token string) (pin string, ok bool) {
	if len(token) != 3+1+encodedLen+1+encodedLen || token[3] != '_' || token[3+1+encodedLen] != '_' {
		return "", false
	}
	// By position, not by splitting: base64url itself uses the underscore.
	pin = token[3+1+encodedLen+1:]
	_, err := base64.RawURLEncoding.DecodeString(pin)
	return pin, err == nil && (strings.HasPrefix(token, UserToken) || strings.HasPrefix(token, JoinToken))
}

// HashToken returns the lower-case hex SHA-256 of a token: all that a coordinator stores of it. A token has 256 random bits, so a
// plain hash can't be searched.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
