// Package disk is the blob store on a local file system: one file per blob, named by its digest, written beside and renamed.
package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/slipway-ci/slipway/coordinator/blob"
)

// Store keeps blobs under a directory: sha256/ab/abcd…, and tmp/ for what is being written. Implements blob.Store.
type Store struct {
	root string
	tmp  string

	mu     sync.Mutex
	shards map[string]bool
	// removing keeps a blob from being put or touched between the look at its age and its removal.
	removing sync.Mutex
}

// Open returns the store in root, made if missing, and removes what an interrupted Put left. One process at a time may have it open.
func Open(root string) (*Store, error) {
	s := &Store{root: filepath.Join(root, "sha256"), tmp: filepath.Join(root, "tmp"), shards: map[string]bool{}}
	if err := os.RemoveAll(s.tmp); err != nil {
		return nil, fmt.Errorf("cleaning the blob store: %w", err)
	}
	for _, dir := range []string{s.root, s.tmp} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the blob store: %w", err)
		}
	}
	return s, nil
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	f, err := os.CreateTemp(s.tmp, "put-*")
	if err != nil {
		return "", 0, fmt.Errorf("storing a blob: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already once renamed
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, h), &ctxReader{ctx: ctx, r: r})
	if err != nil {
		_ = f.Close()
		return "", 0, fmt.Errorf("storing a blob: %w", err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if err := errors.Join(f.Chmod(0o400), f.Sync(), f.Close()); err != nil {
		return "", 0, fmt.Errorf("storing blob %s: %w", sum, err)
	}
	if err := s.install(f.Name(), sum); err != nil {
		return "", 0, fmt.Errorf("storing blob %s: %w", sum, err)
	}
	return blob.Prefix + sum, size, nil
}

// install names a complete file by its digest. A blob that is there already is replaced: so an equal Put repairs a damaged one.
func (s *Store) install(tmp, sum string) error {
	dir := filepath.Join(s.root, sum[:2])
	if err := s.shard(dir); err != nil {
		return err
	}
	s.removing.Lock()
	err := os.Rename(tmp, filepath.Join(dir, sum))
	s.removing.Unlock()
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// shard makes a shard's directory durably, once a process.
func (s *Store) shard(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shards[dir] {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(s.root); err != nil {
		return err
	}
	s.shards[dir] = true
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open implements blob.Store. The reader checks the content as it passes: its last Read fails with blob.ErrCorrupt instead of io.EOF if
// the bytes are not the digest's.
func (s *Store) Open(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	sum, err := blob.ParseDigest(digest)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(filepath.Join(s.root, sum[:2], sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("opening %s: %w", digest, blob.ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening %s: %w", digest, err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("opening %s: %w", digest, err)
	}
	return &verifier{f: f, h: sha256.New(), sum: sum}, info.Size(), nil
}

// verifier hashes what it reads and judges at the end.
type verifier struct {
	f   *os.File
	h   hash.Hash
	sum string
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.f.Read(p)
	v.h.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(v.h.Sum(nil)) != v.sum {
		return n, fmt.Errorf("reading sha256:%s: %w", v.sum, blob.ErrCorrupt)
	}
	return n, err
}

func (v *verifier) Close() error { return v.f.Close() }

// ctxReader ends a long copy when its context does.
type ctxReader struct {
	ctx context.Context //nolint:containedctx // lives for one Put
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
