package main

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
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// whiteout is the prefix that marks a path of a lower layer as deleted (OCI image specification, "Whiteouts").
const whiteout = ".wh."

// rootfsLayer makes a layer of what the root file system in the tar file adds to, changes in or deletes from
// the lower tree. The layer's own tar is written to the file out, which must outlive the layer.
func rootfsLayer(rootfs string, lower tree, out string) (v1.Layer, error) {
	upper, err := readTreeFile(rootfs)
	if err != nil {
		return nil, err
	}
	source, err := os.Open(rootfs)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	return writeLayer(out, func(w *tar.Writer) error {
		for _, gone := range deleted(lower, upper) {
			if err := writeWhiteout(w, gone); err != nil {
				return err
			}
		}
		return eachEntry(source, func(header *tar.Header, content io.Reader) error {
			if old, ok := lower[header.Name]; ok && old == upper[header.Name] {
				return nil
			}
			return writeEntry(w, header, content)
		})
	})
}

func readTreeFile(path string) (tree, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readTree(file)
}

// deleted lists what lower has and upper does not, sorted; of a deleted folder, the folder only.
func deleted(lower, upper tree) []string {
	var gone []string
	for p := range lower {
		if _, ok := upper[p]; ok {
			continue
		}
		parent := path.Dir(p)
		_, parentIsGone := lower[parent]
		if _, ok := upper[parent]; ok {
			parentIsGone = false
		}
		if !parentIsGone {
			gone = append(gone, p)
		}
	}
	slices.Sort(gone)
	return gone
}

func writeWhiteout(w *tar.Writer, gone string) error {
	return writeEntry(w, &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     path.Join(path.Dir(gone), whiteout+path.Base(gone)),
		ModTime:  epoch,
	}, nil)
}

// directoryLayer makes a layer of a directory's content. Everything is owned by root and has one time, so that
// the layer depends on the content only.
func directoryLayer(dir, out string) (v1.Layer, error) {
	return writeLayer(out, func(w *tar.Writer) error {
		return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || file == dir {
				return err
			}
			return addFile(w, dir, file, entry)
		})
	})
}

func addFile(w *tar.Writer, dir, file string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	var link string
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	relative, err := filepath.Rel(dir, file)
	if err != nil {
		return err
	}
	header.Name = cleanPath(relative)
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	header.ModTime = epoch
	if !info.Mode().IsRegular() {
		return writeEntry(w, header, nil)
	}
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	return writeEntry(w, header, content)
}

// writeLayer writes a layer's tar file and wraps it as a zstd-compressed layer, which unpacks several times
// faster than gzip and is smaller.
func writeLayer(out string, fill func(*tar.Writer) error) (v1.Layer, error) {
	file, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(file)
	if err := errors.Join(fill(w), w.Close(), file.Close()); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return tarball.LayerFromFile(out,
		tarball.WithCompression(compression.ZStd),
		tarball.WithMediaType(types.OCILayerZStd),
		tarball.WithCompressedCaching)
}

// writeEntry copies one entry, without what differs between two builds of the same content: times of access
// and change, names of users, and times after the epoch.
func writeEntry(w *tar.Writer, header *tar.Header, content io.Reader) error {
	clean := *header
	clean.Format = tar.FormatPAX
	clean.Uname, clean.Gname = "", ""
	clean.AccessTime, clean.ChangeTime = time.Time{}, time.Time{}
	clean.ModTime = clean.ModTime.Truncate(time.Second)
	if clean.ModTime.After(epoch) {
		clean.ModTime = epoch
	}
	if clean.Typeflag == tar.TypeDir {
		clean.Name += "/"
	}
	if err := w.WriteHeader(&clean); err != nil {
		return fmt.Errorf("write %s: %w", clean.Name, err)
	}
	if clean.Typeflag == tar.TypeReg && content != nil {
		if _, err := io.Copy(w, content); err != nil {
			return fmt.Errorf("write %s: %w", clean.Name, err)
		}
	}
	return nil
}
