// Package archive packs a working tree into a zstd-compressed tar and lays it out again.
//
// Packing is deterministic: the same files give the same bytes, whatever their order, owner or times. Laying out trusts
// nothing: it goes through an os.Root, so no entry and no link in the archive reaches outside.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// ErrUnsafe: an entry names a place outside the root, or is of a kind that a source tree can't hold.
var ErrUnsafe = errors.New("archive: unsafe entry")

// ErrLimit: the archive is larger than its limits allow.
var ErrLimit = errors.New("archive: limit exceeded")

// Pack writes the files, given as slash-separated paths relative to root, to w. Regular files keep their permission
// bits, symbolic links their target, directories that are listed are kept even when empty. Sockets, devices and pipes
// are an error that wraps ErrUnsafe; a file that has gone since it was listed is an error that wraps fs.ErrNotExist.
func Pack(w io.Writer, root string, files []string) error {
	names, err := cleanNames(files)
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("archive: open the tree to pack: %w", err)
	}
	defer func() { _ = dir.Close() }()
	// One worker: the frame's bytes must not depend on how many processors there are.
	zw, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return fmt.Errorf("archive: zstd: %w", err)
	}
	tw := tar.NewWriter(zw)
	for _, name := range names {
		if err := packOne(tw, dir, name); err != nil {
			_ = zw.Close()
			return fmt.Errorf("archive: pack %s: %w", name, err)
		}
	}
	if err := tw.Close(); err != nil {
		_ = zw.Close()
		return fmt.Errorf("archive: finish tar: %w", err)
	}
	if err := zw.Close(); err != nil {
		return fmt.Errorf("archive: finish zstd: %w", err)
	}
	return nil
}

// cleanNames sorts, drops repeats and refuses names that leave the root.
func cleanNames(files []string) ([]string, error) {
	names := make([]string, 0, len(files))
	for _, f := range files {
		n := path.Clean(filepath.ToSlash(f))
		if n == "." {
			continue
		}
		if !filepath.IsLocal(filepath.FromSlash(n)) {
			return nil, fmt.Errorf("%w: %q is not inside the tree", ErrUnsafe, f)
		}
		names = append(names, n)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func packOne(tw *tar.Writer, dir *os.Root, name string) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Format: tar.FormatPAX}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		h.Mode = 0o777
		if h.Linkname, err = dir.Readlink(name); err != nil {
			return err
		}
		return tw.WriteHeader(h)
	case info.IsDir():
		h.Typeflag = tar.TypeDir
		h.Name += "/"
		return tw.WriteHeader(h)
	case info.Mode().IsRegular():
		h.Typeflag = tar.TypeReg
		return packFile(tw, dir, name, h)
	default:
		return fmt.Errorf("%w: %s is neither a file, a directory nor a link", ErrUnsafe, info.Mode().Type())
	}
}

func packFile(tw *tar.Writer, dir *os.Root, name string, h *tar.Header) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// The size is taken from the open file, so that one replaced since Lstat does not make a torn entry.
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(tw, io.LimitReader(f, h.Size))
	if err != nil {
		return err
	}
	if n < h.Size {
		return fmt.Errorf("shrank from %d to %d bytes while it was read; pack again when nothing writes to it", h.Size, n)
	}
	return nil
}

// Limits bound what Unpack writes; zero means DefaultLimits' value.
type Limits struct {
	// Bytes of all files together, unpacked.
	Bytes int64
	// Files, links and directories together.
	Files int
}

// DefaultLimits hold a large monorepo.
var DefaultLimits = Limits{Bytes: 16 << 30, Files: 1_000_000}

// maxMemory bounds the zstd window, and so what a hostile frame can make the reader allocate.
const maxMemory = 256 << 20

// Unpack lays a packed tree out beneath root, over what is there: a file replaces a file or link of its name, never a
// directory's content. Links are made as they are but never followed outside. Errors wrap ErrUnsafe, ErrLimit or the
// file system's.
func Unpack(r io.Reader, root *os.Root, limits Limits) error {
	if limits.Bytes == 0 {
		limits.Bytes = DefaultLimits.Bytes
	}
	if limits.Files == 0 {
		limits.Files = DefaultLimits.Files
	}
	zr, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxMemory), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("archive: zstd: %w", err)
	}
	defer zr.Close()
	u := unpacker{root: root, left: limits.Bytes, filesLeft: limits.Files, made: map[string]bool{".": true}}
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("archive: read: %w", err)
		}
		if err := u.entry(tr, h); err != nil {
			return fmt.Errorf("archive: unpack %q: %w", h.Name, err)
		}
	}
}

// maxName is Linux's PATH_MAX, less its final zero.
const maxName = 4095

type unpacker struct {
	root      *os.Root
	left      int64
	filesLeft int
	// Directories known to be there, so that each is made once.
	made map[string]bool
}

func (u *unpacker) entry(r io.Reader, h *tar.Header) error {
	name := path.Clean(h.Name)
	if strings.Contains(h.Name, "\x00") || !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("%w: the name leaves the tree", ErrUnsafe)
	}
	if len(name) > maxName {
		return fmt.Errorf("%w: a name of %d bytes, more than a path may have", ErrUnsafe, len(name))
	}
	if err := u.count(); err != nil {
		return err
	}
	if err := u.parents(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.mkdir(name)
	case tar.TypeReg:
		return u.file(r, name, h)
	case tar.TypeSymlink:
		if err := u.clear(name); err != nil {
			return err
		}
		return u.root.Symlink(h.Linkname, name)
	default:
		return fmt.Errorf("%w: kind %q is neither a file, a directory nor a link", ErrUnsafe, h.Typeflag)
	}
}

func (u *unpacker) count() error {
	if u.filesLeft--; u.filesLeft < 0 {
		return fmt.Errorf("%w: too many files", ErrLimit)
	}
	return nil
}

// parents makes the directories above name. They count as files do: one name may make many.
func (u *unpacker) parents(name string) error {
	if dir := path.Dir(name); !u.made[dir] {
		if err := u.parents(dir); err != nil {
			return err
		}
		if err := u.count(); err != nil {
			return err
		}
		return u.mkdir(dir)
	}
	return nil
}

func (u *unpacker) mkdir(name string) error {
	if u.made[name] {
		return nil
	}
	err := u.root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		info, serr := u.root.Lstat(name)
		if serr != nil {
			return serr
		}
		if !info.IsDir() {
			return fmt.Errorf("%w: a directory where %s is a file or a link", ErrUnsafe, name)
		}
		err = nil
	}
	if err == nil {
		u.made[name] = true
	}
	return err
}

// clear makes room for a file or link; a directory in its place is an error of the file system, never removed.
func (u *unpacker) clear(name string) error {
	if err := u.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(u.made, name)
	return nil
}

func (u *unpacker) file(r io.Reader, name string, h *tar.Header) error {
	if h.Size > u.left {
		return fmt.Errorf("%w: more than the allowed bytes", ErrLimit)
	}
	u.left -= h.Size
	if err := u.clear(name); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode).Perm()
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	// The umask may have taken bits away.
	if cerr := f.Chmod(mode); err == nil {
		err = cerr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
