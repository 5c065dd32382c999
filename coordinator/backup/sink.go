package backup

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sink takes the files of a backup. Names have slashes.
type Sink interface {
	// Add writes a file of a size.
	Add(name string, size int64, r io.Reader) error
	// Link takes a file that never changes, without copying it, where it can.
	Link(from, name string) (linked bool, size int64, err error)
	// Close makes the backup durable.
	Close() error
}

// ErrNotEmpty: a directory that is to be written has something in it.
var ErrNotEmpty = errors.New("backup: the directory is not empty")

// emptyDir makes a directory, or finds that it is empty.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s has %s in it: %w", dir, entries[0].Name(), ErrNotEmpty)
	}
	return nil
}

type dirSink struct{ root string }

// Dir returns a sink that is a new or empty directory. Blobs are linked if it is on the file system of the data directory.
func Dir(root string) (Sink, error) {
	if err := emptyDir(root); err != nil {
		return nil, fmt.Errorf("the backup's directory: %w", err)
	}
	return &dirSink{root: root}, nil
}

func (d *dirSink) place(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q leads out of the directory", name)
	}
	p := filepath.Join(d.root, filepath.FromSlash(name))
	return p, os.MkdirAll(filepath.Dir(p), 0o700)
}

// Add implements Sink.
func (d *dirSink) Add(name string, size int64, r io.Reader) error {
	p, err := d.place(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes instead of %d", name, n, size)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// Link implements Sink.
func (d *dirSink) Link(from, name string) (bool, int64, error) {
	p, err := d.place(name)
	if err != nil {
		return false, 0, err
	}
	info, err := os.Stat(from)
	if err != nil {
		return false, 0, err
	}
	// Another file system, or one without links: it is copied.
	return os.Link(from, p) == nil, info.Size(), nil
}

// Close implements Sink.
func (d *dirSink) Close() error {
	f, err := os.Open(d.root)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type tarSink struct {
	w   *tar.Writer
	now time.Time
}

// Tar returns a sink that writes a tar; closing it does not close w.
func Tar(w io.Writer, now time.Time) Sink { return &tarSink{w: tar.NewWriter(w), now: now} }

// Add implements Sink.
func (t *tarSink) Add(name string, size int64, r io.Reader) error {
	if err := t.w.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: t.now, Typeflag: tar.TypeReg, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(t.w, r)
	return err
}

// Link implements Sink: a tar has copies.
func (t *tarSink) Link(string, string) (bool, int64, error) { return false, 0, nil }

// Close implements Sink.
func (t *tarSink) Close() error { return t.w.Close() }

// each calls f for every file of a backup: a directory, or a tar.
func each(from string, f func(name string, r io.Reader, local string) error) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return eachTar(from, f)
	}
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		file, err := os.Open(p)
		if err != nil {
			return err
		}
		return errors.Join(f(filepath.ToSlash(rel), file, p), file.Close())
	})
}

func eachTar(from string, f func(name string, r io.Reader, local string) error) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s is not a backup: %w", from, err)
		}
		if h.Typeflag != tar.TypeReg || strings.Contains(h.Name, "..") {
			return fmt.Errorf("%s is not a backup: it has %q in it", from, h.Name)
		}
		if err := f(h.Name, r, ""); err != nil {
			return err
		}
	}
}
