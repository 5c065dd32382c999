package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-ci/slipway/coordinator/blob"
)

var (
	_ blob.Collector = (*Store)(nil)
	_ blob.Ranger    = (*Store)(nil)
)

// path of a blob's file.
func (s *Store) path(digest string) (string, error) {
	sum, err := blob.ParseDigest(digest)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.root, sum[:2], sum), nil
}

// Each implements blob.Collector.
func (s *Store) Each(ctx context.Context, f func(blob.Info) error) error {
	shards, err := os.ReadDir(s.root)
	if err != nil {
		return fmt.Errorf("listing blobs: %w", err)
	}
	for _, shard := range shards {
		files, err := os.ReadDir(filepath.Join(s.root, shard.Name()))
		if err != nil {
			return fmt.Errorf("listing blobs: %w", err)
		}
		for _, file := range files {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("listing blobs: %w", err)
			}
			info, err := file.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				return fmt.Errorf("listing blobs: %w", err)
			}
			if err := f(blob.Info{Digest: blob.Prefix + file.Name(), Size: info.Size(), Stored: info.ModTime()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove implements blob.Collector.
func (s *Store) Remove(_ context.Context, digest string, before time.Time) (bool, error) {
	path, err := s.path(digest)
	if err != nil {
		return false, err
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("removing %s: %w", digest, err)
	}
	if !info.ModTime().Before(before) {
		return false, nil
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("removing %s: %w", digest, err)
	}
	return true, nil
}

// Touch implements blob.Collector.
func (s *Store) Touch(_ context.Context, digest string) error {
	path, err := s.path(digest)
	if err != nil {
		return err
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	now := time.Now()
	err = os.Chtimes(path, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("touching %s: %w", digest, blob.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("touching %s: %w", digest, err)
	}
	return nil
}

// OpenRange implements blob.Ranger.
func (s *Store) OpenRange(_ context.Context, digest string, offset, length int64) (io.ReadCloser, error) {
	path, err := s.path(digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening %s: %w", digest, blob.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", digest, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, offset, length), f}, nil
}

// Look returns the store in root for reading beside the process that has it open: nothing is made or cleaned.
func Look(root string) *Store {
	return &Store{root: filepath.Join(root, "sha256"), tmp: filepath.Join(root, "tmp"), shards: map[string]bool{}}
}
