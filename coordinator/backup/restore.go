package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/slipway-ci/slipway/coordinator/store"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// ErrDamaged: a backup is not complete, or not what was written.
var ErrDamaged = errors.New("backup: incomplete or damaged")

// maxStore bounds the file with the store's keys.
const maxStore = 8 << 30

// Unpack lays a backup out in a data directory, which must be new or empty. The manifest and the store's keys are returned: see Load.
func Unpack(ctx context.Context, from, dataDir string) (m Manifest, keys []byte, err error) {
	if err := emptyDir(dataDir); err != nil {
		return m, nil, fmt.Errorf("restoring: the data directory: %w", err)
	}
	target := &dirSink{root: dataDir}
	blobs := 0
	err = each(from, func(name string, r io.Reader, local string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case name == manifestName:
			return json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&m)
		case name == storeName:
			keys, err = io.ReadAll(io.LimitReader(r, maxStore))
			return err
		case strings.HasPrefix(name, blobsDir+"/"):
			blobs++
			return restoreBlob(target, name, r, local)
		case strings.HasPrefix(name, logsDir+"/"), strings.HasPrefix(name, keysDir+"/"), strings.HasPrefix(name, secretsDir+"/"):
			return restoreFile(target, name, r)
		}
		return fmt.Errorf("%w: %s does not belong into it", ErrDamaged, name)
	})
	if err != nil {
		return m, nil, fmt.Errorf("restoring from %s: %w", from, err)
	}
	sum := sha256.Sum256(keys)
	switch {
	case m.Version == 0:
		return m, nil, fmt.Errorf("restoring from %s: %w: it has no %s; the backup did not come to its end", from, ErrDamaged, manifestName)
	case m.Version != version:
		return m, nil, fmt.Errorf("restoring from %s: its format is %d, and this version reads %d", from, m.Version, version)
	case hex.EncodeToString(sum[:]) != m.StoreSHA256:
		return m, nil, fmt.Errorf("restoring from %s: %w: %s is not what was written", from, ErrDamaged, storeName)
	case blobs != m.Blobs:
		return m, nil, fmt.Errorf("restoring from %s: %w: %d of %d blobs are there", from, ErrDamaged, blobs, m.Blobs)
	}
	return m, keys, target.Close()
}

// restoreBlob copies a blob and holds it against its name.
func restoreBlob(to *dirSink, name string, r io.Reader, _ string) error {
	h := sha256.New()
	if err := restoreFile(to, name, io.TeeReader(r, h)); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != filepath.Base(name) {
		return fmt.Errorf("%w: blob %s has other bytes", ErrDamaged, filepath.Base(name))
	}
	return os.Chmod(filepath.Join(to.root, filepath.FromSlash(name)), 0o400)
}

func restoreFile(to *dirSink, name string, r io.Reader) error {
	p, err := to.place(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}

// Load puts the keys of a backup into a store that has none of ours.
func Load(ctx context.Context, s store.Store, keys []byte) (n int, err error) {
	there, _, err := s.Range(ctx, prefix, store.PrefixEnd(prefix), 1)
	if err != nil {
		return 0, fmt.Errorf("restoring the store: %w", err)
	}
	if len(there) > 0 {
		return 0, fmt.Errorf("restoring the store: it has %s in it: %w", there[0].Key, ErrNotEmpty)
	}
	dec, err := zstd.NewReader(bytes.NewReader(keys))
	if err != nil {
		return 0, fmt.Errorf("restoring the store: %w", err)
	}
	defer dec.Close()
	const batchOps, batchBytes = 100, 512 << 10
	var ops []store.Op
	size := 0
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := s.Commit(ctx, store.Txn{Branches: []store.Branch{{Ops: ops}}})
		n += len(ops)
		ops, size = nil, 0
		return err
	}
	for in := bufio.NewReader(dec); ; {
		kv := &statev1.StoredKey{}
		err := protodelim.UnmarshalOptions{MaxSize: store.MaxTxnBytes * 2}.UnmarshalFrom(in, kv)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, fmt.Errorf("restoring the store: %w: %w", ErrDamaged, err)
		}
		if len(ops) == batchOps || size+len(kv.GetKey())+len(kv.GetValue()) > batchBytes {
			if err := flush(); err != nil {
				return n, fmt.Errorf("restoring the store: %w", err)
			}
		}
		ops = append(ops, store.Op{Key: kv.GetKey(), Value: kv.GetValue()})
		size += len(kv.GetKey()) + len(kv.GetValue())
	}
	if err := flush(); err != nil {
		return n, fmt.Errorf("restoring the store: %w", err)
	}
	return n, nil
}
