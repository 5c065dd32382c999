package disk_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/blob/blobtest"
	"github.com/slipway-ci/slipway/coordinator/blob/disk"
)

func TestSuite(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir()) })
}

func open(t *testing.T, dir string) *disk.Store {
	t.Helper()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDamageIsNoticedAndRepairedByAnEqualPut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	digest, _, err := s.Put(t.Context(), strings.NewReader("precious"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sha256", digest[7:9], digest[7:])
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precioux"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.ReadAll(t.Context(), s, digest, 100); !errors.Is(err, blob.ErrCorrupt) {
		t.Fatalf("reading a damaged blob: %v, want ErrCorrupt", err)
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("precious")); err != nil {
		t.Fatal(err)
	}
	if got, err := blob.ReadAll(t.Context(), s, digest, 100); err != nil || string(got) != "precious" {
		t.Fatalf("after the repair: %q, %v", got, err)
	}
	if _, err := blob.ReadAll(t.Context(), s, digest, 7); !errors.Is(err, blob.ErrTooLarge) {
		t.Fatalf("over the limit: %v, want ErrTooLarge", err)
	}
}

func TestOpenCleansUpAndKeepsBlobs(t *testing.T) {
	dir := t.TempDir()
	digest, _, err := open(t, dir).Put(t.Context(), strings.NewReader("kept"))
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "tmp", "put-123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Fatalf("a half-written file survived: %v", err)
	}
	r, _, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if got, err := io.ReadAll(r); err != nil || string(got) != "kept" {
		t.Fatalf("got %q, %v", got, err)
	}
}
