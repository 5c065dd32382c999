package blob

import (
	"context"
	"io"
	"time"
)

// Info is what a Collector says of a blob.
type Info struct {
	Digest string
	Size   int64
	// Stored is when it was last put or touched.
	Stored time.Time
}

// Collector is a Store that can be listed and cleaned.
type Collector interface {
	Store
	// Each calls f for every blob, in no order, until f fails. What is put or removed meanwhile may or may not be among them.
	Each(ctx context.Context, f func(Info) error) error
	// Remove removes a blob that was last put or touched before a time, and says whether it did. Safe against a Put or Touch at the same moment.
	Remove(ctx context.Context, digest string, before time.Time) (bool, error)
	// Touch makes a blob as if it were put now; ErrNotFound if there is none. Whoever is about to refer to a blob that is there already calls it.
	Touch(ctx context.Context, digest string) error
}

// Ranger is a Store that reads parts of a blob.
type Ranger interface {
	// OpenRange reads length bytes from offset, or fewer where the blob ends. They are not held against the digest.
	OpenRange(ctx context.Context, digest string, offset, length int64) (io.ReadCloser, error)
}

// Claim makes sure that a blob which is there already stays until somebody refers to it; ErrNotFound if there is none.
func Claim(ctx context.Context, s Store, digest string) error {
	if c, ok := s.(Collector); ok {
		return c.Touch(ctx, digest)
	}
	r, _, err := s.Open(ctx, digest)
	if err != nil {
		return err
	}
	return r.Close()
}

// Batcher is a Store that puts many small blobs at the price of one.
type Batcher interface {
	// PutAll stores blobs and returns their digests, in order. All are durable when it returns; on error some may be stored.
	PutAll(ctx context.Context, blobs [][]byte) ([]string, error)
}
