package disk_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestRemovalSparesWhatIsNewOrTouched(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	old := time.Now().Add(-time.Hour)
	put := func(text string) string {
		digest, _, err := s.Put(t.Context(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, "sha256", digest[7:9], digest[7:]), old, old); err != nil {
			t.Fatal(err)
		}
		return digest
	}
	a, b, c := put("a"), put("b"), put("c")
	if err := s.Touch(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("c")); err != nil {
		t.Fatal(err)
	}
	for digest, want := range map[string]bool{a: true, b: false, c: false} {
		if got, err := s.Remove(t.Context(), digest, old.Add(time.Minute)); err != nil || got != want {
			t.Errorf("%s: %v, %v", digest, got, err)
		}
	}
	seen := map[string]int64{}
	if err := s.Each(t.Context(), func(i blob.Info) error { seen[i.Digest] = i.Size; return nil }); err != nil || len(seen) != 2 || seen[b] != 1 || seen[c] != 1 {
		t.Errorf("left: %v, %v", seen, err)
	}
	if err := s.Touch(t.Context(), a); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("touching what is gone: %v", err)
	}
	if got, err := s.Remove(t.Context(), a, time.Now()); err != nil || got {
		t.Errorf("removing what is gone: %v, %v", got, err)
	}
	long := put("0123456789")
	r, err := s.OpenRange(t.Context(), long, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if got, err := io.ReadAll(r); err != nil || string(got) != "3456" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestManyBlobsAtOnce(t *testing.T) {
	s := open(t, t.TempDir())
	texts := [][]byte{[]byte("one"), []byte("two"), []byte("one"), {}}
	digests, err := s.PutAll(t.Context(), texts)
	if err != nil || len(digests) != len(texts) || digests[0] != digests[2] {
		t.Fatal(digests, err)
	}
	for i, digest := range digests {
		if got, err := blob.ReadAll(t.Context(), s, digest, 100); err != nil || string(got) != string(texts[i]) {
			t.Errorf("%s: %q, %v", digest, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.PutAll(ctx, texts); err == nil {
		t.Error("stored after the end")
	}
}
