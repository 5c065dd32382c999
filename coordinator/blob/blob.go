// Package blob is the content-addressed store: local disk now, S3 later. Every implementation passes blobtest.Run.
package blob

import (
	"context"
	"errors"
	"io"
)

// ErrNotFound: no blob has this digest.
var ErrNotFound = errors.New("blob: not found")

// Store is safe for concurrent use. Digests are "sha256:" and 64 lower-case hex digits.
type Store interface {
	// Put stores r to its end and returns the digest and size in bytes. On error nothing is stored. Durable when it returns.
	Put(ctx context.Context, r io.Reader) (digest string, size int64, err error)
	// Open reads a blob from its beginning.
	Open(ctx context.Context, digest string) (r io.ReadCloser, size int64, err error)
}
