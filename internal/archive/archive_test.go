package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func openRoot(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestPackAndUnpackKeepContentModesLinksAndEmptyDirectories(t *testing.T) {
	src := t.TempDir()
	write(t, filepath.Join(src, "a/run.sh"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(src, "b.txt"), "hello", 0o640)
	if err := os.Symlink("../b.txt", filepath.Join(src, "a/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(src, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := Pack(&buf, src, []string{"b.txt", "a/run.sh", "a/link", "empty", "b.txt"}); err != nil {
		t.Fatal(err)
	}
	root, dst := openRoot(t)
	if err := Unpack(&buf, root, Limits{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "a/link")); err != nil || string(got) != "hello" {
		t.Fatalf("through the link: %q, %v", got, err)
	}
	for name, want := range map[string]fs.FileMode{"a/run.sh": 0o755, "b.txt": 0o640} {
		info, err := os.Stat(filepath.Join(dst, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dst, "empty")); err != nil || !info.IsDir() {
		t.Errorf("empty directory: %v", err)
	}
}

func TestPackIsDeterministic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		files := rapid.MapOf(rapid.StringMatching(`[a-z]{1,3}/[a-z]{1,8}`), rapid.SliceOf(rapid.Byte())).Draw(rt, "files")
		var names []string
		for n, c := range files {
			write(t, filepath.Join(dir, n), string(c), 0o644)
			names = append(names, n)
		}
		slices.Sort(names)
		var one, two bytes.Buffer
		if err := Pack(&one, dir, names); err != nil {
			rt.Fatal(err)
		}
		slices.Reverse(names)
		if err := Pack(&two, dir, names); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(one.Bytes(), two.Bytes()) {
			rt.Fatal("the order of the list changed the bytes")
		}
	})
}

func TestPackRefusesWhatIsOutsideAndWhatIsNoFile(t *testing.T) {
	if err := Pack(&bytes.Buffer{}, t.TempDir(), []string{"../x"}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("outside: %v", err)
	}
	if err := Pack(&bytes.Buffer{}, t.TempDir(), []string{"gone"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

func hostile(t *testing.T, headers ...*tar.Header) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	zw, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for _, h := range headers {
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := tw.Write(bytes.Repeat([]byte{'x'}, int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	tw.Close()
	zw.Close()
	return &buf
}

func TestUnpackLetsNothingOut(t *testing.T) {
	outside := t.TempDir()
	cases := map[string][]*tar.Header{
		"parent":         {{Name: "../evil", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}},
		"absolute":       {{Name: "/etc/evil", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}},
		"through a link": {{Name: "d", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "d/evil", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}},
		"hard link":      {{Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"device":         {{Name: "n", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
	}
	for name, headers := range cases {
		t.Run(name, func(t *testing.T) {
			root, _ := openRoot(t)
			if err := Unpack(hostile(t, headers...), root, Limits{}); !errors.Is(err, ErrUnsafe) {
				t.Errorf("got %v, want ErrUnsafe", err)
			}
			if entries, _ := os.ReadDir(outside); len(entries) != 0 {
				t.Error("something was written outside")
			}
		})
	}
}

func TestUnpackHoldsItsLimits(t *testing.T) {
	file := func(name string, size int64) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size, Mode: 0o644}
	}
	for name, c := range map[string]struct {
		limits Limits
		want   error
	}{
		"bytes": {Limits{Bytes: 19}, ErrLimit}, "files": {Limits{Files: 1}, ErrLimit}, "exactly": {Limits{Bytes: 20, Files: 2}, nil},
	} {
		root, _ := openRoot(t)
		if err := Unpack(hostile(t, file("a", 10), file("b", 10)), root, c.limits); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// One entry can make a directory for every two bytes of its name.
func TestUnpackCountsTheDirectoriesThatItMakes(t *testing.T) {
	deep := func(levels int) *bytes.Buffer {
		return hostile(t, &tar.Header{Name: strings.Repeat("d/", levels) + "f", Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatPAX})
	}
	for levels, want := range map[int]error{99: nil, 100: ErrLimit, 3000: ErrUnsafe} {
		root, _ := openRoot(t)
		if err := Unpack(deep(levels), root, Limits{Files: 100}); !errors.Is(err, want) {
			t.Errorf("%d directories: %v, want %v", levels, err, want)
		}
	}
}

func TestUnpackReplacesFilesButNotDirectories(t *testing.T) {
	root, dir := openRoot(t)
	write(t, filepath.Join(dir, "a"), "old", 0o600)
	write(t, filepath.Join(dir, "d/inner"), "kept", 0o600)
	if err := Unpack(hostile(t, &tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 2, Mode: 0o644}), root, Limits{}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a")); string(got) != "xx" {
		t.Errorf("a is %q", got)
	}
	if err := Unpack(hostile(t, &tar.Header{Name: "d", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}), root, Limits{}); err == nil {
		t.Error("a file replaced a directory that holds something")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("not zstd"))
	f.Fuzz(func(t *testing.T, data []byte) {
		root, _ := openRoot(t)
		_ = Unpack(bytes.NewReader(data), root, Limits{Bytes: 1 << 20, Files: 100})
	})
}
