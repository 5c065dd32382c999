package logs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrUnknownAttempt: the store has no such attempt.
var ErrUnknownAttempt = errors.New("logs: unknown attempt")

// ErrEnded: bytes after the log's end, or an end before its bytes.
var ErrEnded = errors.New("logs: this is not where the log ends")

// ErrBadName: an id that can't be a file's name.
var ErrBadName = errors.New("logs: not an id")

// GapError refuses bytes that would leave a hole.
type GapError struct {
	// Offset of the refused bytes, and the one that the log goes on at.
	Offset, Want int64
}

func (e *GapError) Error() string {
	return fmt.Sprintf("logs: bytes at offset %d would leave a gap; the log has %d bytes: send from there", e.Offset, e.Want)
}

// Meta says where an attempt's logs belong.
type Meta struct {
	Run     string `json:"run"`
	Job     string `json:"job"`
	Attempt string `json:"attempt"`
	// Agent that may push, and the hash of the token that it shows.
	Agent     string `json:"agent"`
	TokenHash string `json:"token_hash"`
}

// Sum is what an attempt's final report says of one log.
type Sum struct {
	Step   uint32 `json:"step"`
	Length int64  `json:"length"`
	// SHA-256, lower-case hex.
	SHA256 string `json:"sha256"`
}

// valid says whether this is about a log. Reports are made on hosts that the coordinator does not own.
func (s Sum) valid() bool {
	return s.Step <= maxStep && s.Length >= 0 && len(s.SHA256) <= hex.EncodedLen(sha256.Size)
}

// Info describes one log as it is now.
type Info struct {
	Job, Attempt string
	Step         uint32
	// Size in bytes of what can be read.
	Size int64
	// Want is the final length; -1 while unknown.
	Want int64
	// Damaged: complete, but not the bytes that the agent sent.
	Damaged bool
}

// Complete says that no more bytes will come.
func (i Info) Complete() bool { return i.Want >= 0 && i.Size >= i.Want }

// checkName allows what is safe as a file's name: ids are letters, digits, '-' and '_'.
func checkName(names ...string) error {
	for _, n := range names {
		if n == "" || len(n) > 128 {
			return fmt.Errorf("%.40q: %w", n, ErrBadName)
		}
		for _, c := range []byte(n) {
			ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
			if !ok {
				return fmt.Errorf("%.40q: %w", n, ErrBadName)
			}
		}
	}
	return nil
}
