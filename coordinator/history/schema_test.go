package history_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/history"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

var quiet = slog.New(slog.DiscardHandler)

// made is the path of an index that knows the chain of one project, all of which has expired.
func made(t *testing.T) (path string, blobs *disk.Store) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "history.db")
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	h := open(t, path, blobs)
	if err := errors.Join(h.Advance(t.Context(), history.Move{To: head}), h.Close()); err != nil {
		t.Fatal(err)
	}
	return path, blobs
}

var head = &statev1.ChainHead{Project: "p", Seq: 3, Expired: 3, Link: "link"}

func open(t *testing.T, path string, blobs *disk.Store) *history.History {
	t.Helper()
	h, err := history.Open(t.Context(), path, blobs, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// knows says whether an index has what made put into it.
func knows(t *testing.T, h *history.History) bool {
	t.Helper()
	ok, err := h.Complete(t.Context(), map[string]*statev1.ChainHead{"p": head})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// damages are ways in which an index can't be used.
var damages = map[string]func(t *testing.T, path string){
	"not a database": func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, bytes.Repeat([]byte("garbage "), 1024), 0o600); err != nil {
			t.Fatal(err)
		}
	},
	"pages overwritten": func(t *testing.T, path string) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copy(data[4096:], bytes.Repeat([]byte{0xa5}, len(data)-4096))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	},
	"another version": func(t *testing.T, path string) {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), "PRAGMA user_version = 77"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	},
	"missing": func(t *testing.T, path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	},
}

func TestADamagedIndexIsMadeAnewOnlyByItsOwner(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			path, blobs := made(t)
			damage(t, path)
			before, _ := os.ReadFile(path)
			if _, err := history.Look(t.Context(), path, blobs, quiet); !errors.Is(err, history.ErrDamaged) {
				t.Errorf("looking: %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("a look changed it")
			}
			h := open(t, path, blobs)
			defer func() { _ = h.Close() }()
			if knows(t, h) {
				t.Error("it was not made anew")
			}
		})
	}
}

func TestAnIndexThatCouldNotBeLookedAtIsLeftAlone(t *testing.T) {
	path, blobs := made(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := history.Open(cancelled, path, blobs, quiet); !errors.Is(err, context.Canceled) || errors.Is(err, history.ErrDamaged) {
		t.Errorf("opening: %v", err)
	}
	h := open(t, path, blobs)
	defer func() { _ = h.Close() }()
	if !knows(t, h) {
		t.Error("it was made anew")
	}
}

func TestALookBesideTheOwnerReadsAndWritesNothing(t *testing.T) {
	path, blobs := made(t)
	owner := open(t, path, blobs)
	defer func() { _ = owner.Close() }()
	next := &statev1.ChainHead{Project: "q", Seq: 1, Expired: 1, Link: "other"}
	if err := owner.Advance(t.Context(), history.Move{To: next}); err != nil {
		t.Fatal(err)
	}
	look, err := history.Look(t.Context(), path, blobs, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = look.Close() }()
	if ok, err := look.Complete(t.Context(), map[string]*statev1.ChainHead{"p": head, "q": next}); err != nil || !ok {
		t.Errorf("what the owner wrote is not seen: %v, %v", ok, err)
	}
	if err := look.Forget(t.Context(), "p", 3); err == nil {
		t.Error("a look can write")
	}
}
