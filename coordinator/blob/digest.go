package blob

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Prefix begins every digest.
const Prefix = "sha256:"

// ErrCorrupt: the stored bytes are not the digest's any more.
var ErrCorrupt = errors.New("blob: content does not match its digest")

// ErrDigest: a string is not a digest.
var ErrDigest = errors.New("blob: not a digest (\"sha256:\" and 64 lower-case hex digits)")

// ErrTooLarge: a blob is larger than the caller allows.
var ErrTooLarge = errors.New("blob: too large")

// ParseDigest returns the hex part of a digest, safe as a file name, or ErrDigest.
func ParseDigest(digest string) (sum string, err error) {
	sum, ok := strings.CutPrefix(digest, Prefix)
	if _, err := hex.DecodeString(sum); !ok || err != nil || len(sum) != 64 || sum != strings.ToLower(sum) {
		return "", fmt.Errorf("%.100q: %w", digest, ErrDigest)
	}
	return sum, nil
}

// Limit returns a reader that fails with ErrTooLarge after limit bytes, instead of ending as io.LimitReader does.
func Limit(r io.Reader, limit int64) io.Reader { return &limited{r: r, left: limit} }

type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

// ReadAll reads a whole blob of at most limit bytes into memory, verified.
func ReadAll(ctx context.Context, s Store, digest string, limit int64) ([]byte, error) {
	r, size, err := s.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	if size > limit {
		return nil, fmt.Errorf("reading %s of %d bytes, at most %d are allowed: %w", digest, size, limit, ErrTooLarge)
	}
	var buf bytes.Buffer
	buf.Grow(int(size))
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
