package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/slipway-ci/slipway/internal/clock"
)

const (
	// KeepFor is how long a version that was replaced or removed can still be given to an attempt that had it.
	KeepFor = 7 * 24 * time.Hour
	// maxVersions of a name, the one that holds included.
	maxVersions = 10
	// dropEvery is how often old versions are looked for.
	dropEvery = time.Hour

	checkFile = "check"
	checkText = "slipway secrets"
)

// ErrNoKey: no key is configured, so no secret can be kept or read.
var ErrNoKey = errors.New("this coordinator has no key for secrets: name a file for it in its configuration, `secrets: {key_file: …}`")

// ErrGone: a value that an attempt had was dropped since.
var ErrGone = errors.New("a secret as the attempt had it is not kept any more")

// Store keeps secrets and variables in files. Safe for concurrent use, by one process.
type Store struct {
	dir   string
	keys  []*age.X25519Identity
	clock clock.Clock
	log   *slog.Logger

	mu sync.RWMutex
	// revision of the last write.
	revision uint64
	// dropped is when old versions were last looked for.
	dropped time.Time
}

// Open opens the store in a directory, which is made. Without a key there can be no secrets; it is an error if there are some, or if the
// key is not theirs. A key file that is not there is made, unless there are secrets already.
func Open(ctx context.Context, dir string, key Key, c clock.Clock, log *slog.Logger) (*Store, error) {
	// Revision 0 is none: who was given nothing yet asks with it.
	s := &Store{dir: filepath.Clean(dir), clock: c, log: log, revision: 1}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the secrets: %w", err)
	}
	if err := s.unlock(ctx, key); err != nil {
		return nil, err
	}
	err := s.each(func(dir string, r *record) error {
		for _, v := range r.Versions {
			s.revision = max(s.revision, v.Revision)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the secrets: %w", err)
	}
	s.drop()
	return s, nil
}

// unlock gets the key, and holds it against what it sealed before.
func (s *Store) unlock(ctx context.Context, key Key) error {
	path := filepath.Join(s.dir, string(Secrets), checkFile)
	sealed, err := os.ReadFile(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !fresh:
		return fmt.Errorf("opening the secrets: %w", err)
	case key.none() && fresh:
		return nil
	case key.none():
		return fmt.Errorf("%s holds secrets, and no key for them is configured: name it under `secrets:`, `key_file` or `key_command`", s.dir)
	}
	if s.keys, err = key.load(ctx, fresh); err != nil {
		return err
	}
	if !fresh {
		if text, err := s.open(sealed); err != nil || string(text) != checkText {
			return fmt.Errorf("the configured key does not open the secrets in %s: it is another one than they were sealed for", s.dir)
		}
		return nil
	}
	if sealed, err = s.seal([]byte(checkText)); err != nil {
		return err
	}
	if err := s.makeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("opening the secrets: %w", err)
	}
	return writeFile(path, sealed)
}

// seal encrypts for the first key.
func (s *Store) seal(text []byte) ([]byte, error) {
	if len(s.keys) == 0 {
		return nil, ErrNoKey
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, s.keys[0].Recipient())
	if err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	return out.Bytes(), nil
}

func (s *Store) open(sealed []byte) ([]byte, error) {
	if len(s.keys) == 0 {
		return nil, ErrNoKey
	}
	all := make([]age.Identity, len(s.keys))
	for i, k := range s.keys {
		all[i] = k
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), all...)
	if err != nil {
		return nil, fmt.Errorf("opening a secret: %w", err)
	}
	return io.ReadAll(r)
}

// contents are what is sealed: with a place and a number, so that nobody who can write files can put one secret, or an old version, in
// the place of another.
type contents struct {
	Scope    string `json:"scope"`
	Name     string `json:"name"`
	Revision uint64 `json:"revision"`
	Value    string `json:"value"`
}

func (s *Store) sealValue(c contents) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	return s.seal(text)
}

func (s *Store) openValue(scope, name string, v *version) (string, error) {
	text, err := s.open(v.Sealed)
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	var c contents
	if err := json.Unmarshal(text, &c); err != nil {
		return "", fmt.Errorf("secret %s: what is sealed can't be read", name) // the error would quote it
	}
	if want := (contents{Scope: scope, Name: name, Revision: v.Revision, Value: c.Value}); c != want {
		return "", fmt.Errorf("secret %s: its file holds another secret, or another version of it: somebody changed the files in %s", name, s.dir)
	}
	return c.Value, nil
}

// each visits the records of all scopes of both kinds.
func (s *Store) each(visit func(dir string, r *record) error) error {
	for _, k := range []Kind{Secrets, Variables} {
		scopes, err := os.ReadDir(filepath.Join(s.dir, string(k)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, scope := range scopes {
			if !scope.IsDir() {
				continue
			}
			dir := filepath.Join(s.dir, string(k), scope.Name())
			all, err := readAll(dir)
			if err != nil {
				return err
			}
			for _, r := range all {
				if err := visit(dir, r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// drop forgets versions whose time is over. A failure is tried again later.
func (s *Store) drop() {
	now := s.clock.Now()
	s.dropped = now
	err := s.each(func(dir string, r *record) error {
		if !r.drop(now.UnixMilli()) {
			return nil
		}
		return s.write(dir, r)
	})
	if err != nil {
		s.log.Error("old versions of secrets and variables could not be dropped", "error", err)
	}
}
