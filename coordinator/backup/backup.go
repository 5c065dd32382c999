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
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/slipway-ci/slipway/coordinator/store"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Names in a backup.
const (
	manifestName = "manifest.json"
	storeName    = "store.pb.zst"
	blobsDir     = "blobs"
	logsDir      = "logs"
	keysDir      = "pki"
	secretsDir   = "secrets"
)

// version of the format.
const version = 1

// Manifest says what a backup has. It is written last: a backup without one is not complete.
type Manifest struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	// Keys of the store, and the SHA-256 of the file that has them.
	Keys        int    `json:"keys"`
	StoreSHA256 string `json:"store_sha256"`
	Blobs       int    `json:"blobs"`
	BlobBytes   int64  `json:"blob_bytes"`
	Logs        int    `json:"logs"`
	// HasKeys: the certificate authority's key and the administrator's token are in it.
	HasKeys bool `json:"has_keys"`
}

// Source is a coordinator that is copied.
type Source struct {
	Store   store.Store
	DataDir string
	// Keys: with the certificate authority's key. Without, agents must join again.
	Keys bool
	Now  time.Time
}

// prefix of all keys, and that of those that belong to a process and not to the state.
const (
	prefix   = "/slipway/v1/"
	election = prefix + "leader/"
)

// Write copies a coordinator into a sink.
func Write(ctx context.Context, s Source, to Sink) (Manifest, error) {
	m := Manifest{Version: version, Time: s.Now.UTC(), HasKeys: s.Keys}
	data, keys, err := dumpStore(ctx, s.Store)
	if err != nil {
		return m, fmt.Errorf("backing up the store: %w", err)
	}
	sum := sha256.Sum256(data)
	m.Keys, m.StoreSHA256 = keys, hex.EncodeToString(sum[:])
	if err := to.Add(storeName, int64(len(data)), bytes.NewReader(data)); err != nil {
		return m, err
	}
	if m.Blobs, m.BlobBytes, err = copyTree(ctx, filepath.Join(s.DataDir, "blobs", "sha256"), path.Join(blobsDir, "sha256"), to, true); err != nil {
		return m, fmt.Errorf("backing up blobs: %w", err)
	}
	if m.Logs, _, err = copyTree(ctx, filepath.Join(s.DataDir, "logs"), logsDir, to, false); err != nil {
		return m, fmt.Errorf("backing up logs: %w", err)
	}
	// Sealed: the key is not among a coordinator's data.
	if _, _, err := copyTree(ctx, filepath.Join(s.DataDir, "secrets"), secretsDir, to, false); err != nil {
		return m, fmt.Errorf("backing up secrets: %w", err)
	}
	if s.Keys {
		if _, _, err := copyTree(ctx, filepath.Join(s.DataDir, "pki"), keysDir, to, false); err != nil {
			return m, fmt.Errorf("backing up keys: %w", err)
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, fmt.Errorf("backing up: %w", err)
	}
	if err := to.Add(manifestName, int64(len(text)), bytes.NewReader(text)); err != nil {
		return m, err
	}
	return m, to.Close()
}

// dumpStore reads all keys as of one revision.
func dumpStore(ctx context.Context, s store.Store) (data []byte, keys int, err error) {
	kvs, _, err := s.Range(ctx, prefix, store.PrefixEnd(prefix), 0)
	if err != nil {
		return nil, 0, err
	}
	var out bytes.Buffer
	enc, err := zstd.NewWriter(&out)
	if err != nil {
		return nil, 0, err
	}
	for _, kv := range kvs {
		if strings.HasPrefix(kv.Key, election) {
			continue
		}
		if _, err := protodelim.MarshalTo(enc, &statev1.StoredKey{Key: kv.Key, Value: kv.Value}); err != nil {
			return nil, 0, err
		}
		keys++
	}
	if err := enc.Close(); err != nil {
		return nil, 0, err
	}
	return out.Bytes(), keys, nil
}

// copyTree copies the files below a directory. Files that grow are copied after those that say how long they are. What goes away meanwhile is
// not needed. immutable files may be linked.
func copyTree(ctx context.Context, from, as string, to Sink, immutable bool) (files int, size int64, err error) {
	err = filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if !d.IsDir() {
			return nil
		}
		entries, err := os.ReadDir(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return order(a.Name()) - order(b.Name()) })
		for _, e := range entries {
			if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".new-") {
				continue
			}
			rel, err := filepath.Rel(from, filepath.Join(p, e.Name()))
			if err != nil {
				return err
			}
			n, err := copyFile(filepath.Join(p, e.Name()), path.Join(as, filepath.ToSlash(rel)), to, immutable)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			files++
			size += n
		}
		return nil
	})
	return files, size, err
}

// order of the files of a directory: a log after its end and its sums.
func order(name string) int {
	if strings.HasSuffix(name, ".log") {
		return 1
	}
	return 0
}

func copyFile(from, as string, to Sink, immutable bool) (int64, error) {
	if immutable {
		if linked, size, err := to.Link(from, as); linked || err != nil {
			return size, err
		}
	}
	f, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	// What is appended meanwhile is not part of the backup.
	return info.Size(), to.Add(as, info.Size(), bufio.NewReader(io.LimitReader(f, info.Size())))
}
