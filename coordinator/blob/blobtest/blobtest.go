// Package blobtest is the suite that every blob.Store passes.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"pgregory.net/rapid"
)

// Run tests the stores that open makes; each is fresh and empty.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	t.Run("RoundTrip", func(t *testing.T) { roundTrip(t, open(t)) })
	t.Run("PutTwice", func(t *testing.T) { putTwice(t, open(t)) })
	t.Run("NotFound", func(t *testing.T) { notFound(t, open(t)) })
	t.Run("BadDigests", func(t *testing.T) { badDigests(t, open(t)) })
	t.Run("FailedPutStoresNothing", func(t *testing.T) { failedPut(t, open(t)) })
	t.Run("CancelledPutStoresNothing", func(t *testing.T) { cancelledPut(t, open(t)) })
	t.Run("Concurrent", func(t *testing.T) { concurrent(t, open(t)) })
}

// Digest returns the digest of data.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return blob.Prefix + hex.EncodeToString(sum[:])
}

func get(t interface{ Fatalf(string, ...any) }, s blob.Store, digest string) []byte {
	r, size, err := s.Open(context.Background(), digest)
	if err != nil {
		t.Fatalf("Open %s: %v", digest, err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil || int64(len(data)) != size {
		t.Fatalf("reading %s: %d bytes of %d, %v", digest, len(data), size, err)
	}
	return data
}

func roundTrip(t *testing.T, s blob.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(rt, "data")
		digest, size, err := s.Put(context.Background(), iotest.OneByteReader(bytes.NewReader(data)))
		if err != nil || digest != Digest(data) || size != int64(len(data)) {
			rt.Fatalf("Put of %d bytes = %s, %d, %v", len(data), digest, size, err)
		}
		if got := get(rt, s, digest); !bytes.Equal(got, data) {
			rt.Fatalf("got %d other bytes", len(got))
		}
	})
}

func putTwice(t *testing.T, s blob.Store) {
	for range 2 {
		if _, _, err := s.Put(t.Context(), strings.NewReader("same")); err != nil {
			t.Fatal(err)
		}
	}
	if got := get(t, s, Digest([]byte("same"))); string(got) != "same" {
		t.Fatalf("got %q", got)
	}
}

func notFound(t *testing.T, s blob.Store) {
	if _, _, err := s.Open(t.Context(), Digest([]byte("absent"))); !errors.Is(err, blob.ErrNotFound) {
		t.Fatalf("Open = %v, want ErrNotFound", err)
	}
}

func badDigests(t *testing.T, s blob.Store) {
	good := Digest(nil)
	for _, d := range []string{"", "sha256:", "sha256:../../etc/passwd", strings.ToUpper(good), good + "0", good[:len(good)-1], "md5:" + good[7:],
		"sha256:" + strings.Repeat("/", 64), good[7:]} {
		if _, _, err := s.Open(t.Context(), d); !errors.Is(err, blob.ErrDigest) {
			t.Errorf("Open(%q) = %v, want ErrDigest", d, err)
		}
	}
}

func failedPut(t *testing.T, s blob.Store) {
	boom := errors.New("boom")
	data := []byte("half of it")
	_, _, err := s.Put(t.Context(), io.MultiReader(bytes.NewReader(data), iotest.ErrReader(boom)))
	if !errors.Is(err, boom) {
		t.Fatalf("Put = %v, want the reader's error", err)
	}
	if _, _, err := s.Open(t.Context(), Digest(data)); !errors.Is(err, blob.ErrNotFound) {
		t.Fatalf("Open = %v, want ErrNotFound", err)
	}
	_, _, err = s.Put(t.Context(), blob.Limit(bytes.NewReader(data), int64(len(data)-1)))
	if !errors.Is(err, blob.ErrTooLarge) {
		t.Fatalf("Put over a limit = %v, want ErrTooLarge", err)
	}
	if _, _, err = s.Put(t.Context(), blob.Limit(bytes.NewReader(data), int64(len(data)))); err != nil {
		t.Fatalf("Put at a limit = %v", err)
	}
}

func cancelledPut(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Put(ctx, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Fatalf("Put = %v, want context.Canceled", err)
	}
}

func concurrent(t *testing.T, s blob.Store) {
	data := bytes.Repeat([]byte("slipway"), 10_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, _, err := s.Put(t.Context(), bytes.NewReader(data)); err != nil {
				t.Errorf("Put: %v", err)
				return
			}
			r, _, err := s.Open(t.Context(), Digest(data))
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			defer func() { _ = r.Close() }()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}
