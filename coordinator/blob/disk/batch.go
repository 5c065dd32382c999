package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/coordinator/blob"
)

var _ blob.Batcher = (*Store)(nil)

// PutAll implements blob.Batcher: the file system is synced twice for all, instead of a file and a directory for each.
func (s *Store) PutAll(ctx context.Context, blobs [][]byte) ([]string, error) {
	temps, sums := make([]string, 0, len(blobs)), make([]string, 0, len(blobs))
	defer func() {
		for _, t := range temps {
			_ = os.Remove(t) // gone already once renamed
		}
	}()
	for _, data := range blobs {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("storing blobs: %w", err)
		}
		sum := sha256.Sum256(data)
		sums = append(sums, hex.EncodeToString(sum[:]))
		f, err := os.CreateTemp(s.tmp, "put-*")
		if err != nil {
			return nil, fmt.Errorf("storing blobs: %w", err)
		}
		temps = append(temps, f.Name())
		_, err = f.Write(data)
		if err = errors.Join(err, f.Chmod(0o400), f.Close()); err != nil {
			return nil, fmt.Errorf("storing blobs: %w", err)
		}
	}
	if err := s.syncAll(); err != nil {
		return nil, err
	}
	for i, sum := range sums {
		dir := filepath.Join(s.root, sum[:2])
		err := s.shard(dir)
		if err == nil {
			err = s.rename(temps[i], filepath.Join(dir, sum))
		}
		if err != nil {
			return nil, fmt.Errorf("storing blob %s: %w", sum, err)
		}
		sums[i] = blob.Prefix + sum
	}
	return sums, s.syncAll()
}

func (s *Store) rename(from, to string) error {
	s.removing.Lock()
	defer s.removing.Unlock()
	return os.Rename(from, to)
}

// syncAll makes everything that was written to the file system durable.
func (s *Store) syncAll() error {
	d, err := os.Open(s.root)
	if err != nil {
		return fmt.Errorf("syncing the blob store: %w", err)
	}
	if err := errors.Join(unix.Syncfs(int(d.Fd())), d.Close()); err != nil {
		return fmt.Errorf("syncing the blob store: %w", err)
	}
	return nil
}
