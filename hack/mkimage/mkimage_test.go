package main

import (
	"archive/tar"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"pgregory.net/rapid"
)

const recipeText = `{"repository": "test/image", "tags": ["1", "latest"],
	"config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "ExposedPorts": {"80/tcp": {}}}}`

// testRegistry serves a registry that lives in memory and returns its host:port.
func testRegistry(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// file is one entry of a test's root file system; the content says what it is.
type file struct {
	path    string
	kind    byte
	mode    int64
	content string // of a regular file; or a link's target
}

func writeTar(t testing.TB, files ...file) string {
	t.Helper()
	var text strings.Builder
	w := tar.NewWriter(&text)
	for _, f := range files {
		header := &tar.Header{Name: "./" + f.path, Typeflag: f.kind, Mode: f.mode}
		switch f.kind {
		case tar.TypeReg:
			header.Size = int64(len(f.content))
		case tar.TypeDir:
			header.Name += "/"
		default:
			header.Linkname = f.content
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if f.kind == tar.TypeReg {
			if _, err := io.WriteString(w, f.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "rootfs.tar", text.String())
}

func pull(t testing.TB, ref string) v1.Image {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digest(t testing.TB, image v1.Image) string {
	t.Helper()
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func mustRun(t testing.TB, args ...string) {
	t.Helper()
	if err := run(t.Context(), args); err != nil {
		t.Fatal(err)
	}
}

func TestPushSetsConfigurationAndTags(t *testing.T) {
	host, recipe := testRegistry(t), writeFile(t, "image.json", recipeText)
	rootfs := writeTar(t,
		file{"dev", tar.TypeDir, 0o755, ""}, file{"dev/console", tar.TypeChar, 0o600, ""},
		file{"bin", tar.TypeDir, 0o755, ""}, file{"bin/sh", tar.TypeReg, 0o755, "#!"})
	mustRun(t, "-registry", host, "-recipe", recipe, "-key", "k1", "-rootfs", rootfs)

	image := pull(t, host+"/test/image:1")
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.Cmd[0] != "sh" || config.Config.Env[0] != "PATH=/bin" || config.Config.Labels[recipeLabel] != "k1" {
		t.Errorf("configuration is not the recipe's: %+v", config.Config)
	}
	files, err := imageTree(image)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, []string{"bin", "bin/sh", "dev"}) {
		t.Errorf("files %q: want the folders and bin/sh, no device", got)
	}
	for _, tag := range []string{"latest", "recipe-k1"} {
		if got := digest(t, pull(t, host+"/test/image:"+tag)); got != digest(t, image) {
			t.Errorf("tag %s is another image: %s", tag, got)
		}
	}
}

func TestPushKeepsAnImageOfTheSameKey(t *testing.T) {
	host, recipe := testRegistry(t), writeFile(t, "image.json", recipeText)
	mustRun(t, "-registry", host, "-recipe", recipe, "-key", "k1", "-rootfs", writeTar(t, file{"a", tar.TypeReg, 0o644, "1"}))
	first := digest(t, pull(t, host+"/test/image:1"))
	mustRun(t, "-registry", host, "-recipe", recipe, "-key", "k2", "-rootfs", writeTar(t, file{"a", tar.TypeReg, 0o644, "2"}))
	if got := digest(t, pull(t, host+"/test/image:1")); got == first {
		t.Fatal("another key did not make another image")
	}
	// The root file system does not exist: it must not be needed.
	mustRun(t, "-registry", host, "-recipe", recipe, "-key", "k1", "-rootfs", "/nonexistent")
	if got := digest(t, pull(t, host+"/test/image:1")); got != first {
		t.Errorf("tag 1 was not moved back to the kept image: %s, want %s", got, first)
	}
}

func TestSameContentGivesSameDigest(t *testing.T) {
	recipe := writeFile(t, "image.json", recipeText)
	var digests []string
	for range 2 {
		host, layer := testRegistry(t), t.TempDir()
		if err := os.WriteFile(filepath.Join(layer, "tool"), []byte("x"), 0o755); err != nil {
			t.Fatal(err)
		}
		mustRun(t, "-registry", host, "-recipe", recipe, "-key", "k", "-layer", layer,
			"-rootfs", writeTar(t, file{"a", tar.TypeReg, 0o644, "1"}))
		digests = append(digests, digest(t, pull(t, host+"/test/image:1")))
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds of the same content differ: %s", digests)
	}
}

func TestBaseLayersAreShared(t *testing.T) {
	host := testRegistry(t)
	base := writeFile(t, "image.json", strings.ReplaceAll(recipeText, "test/image", "test/base"))
	same := file{"same", tar.TypeReg, 0o644, strings.Repeat("x", 4096)}
	mustRun(t, "-registry", host, "-recipe", base, "-key", "b", "-rootfs",
		writeTar(t, same, file{"gone", tar.TypeDir, 0o755, ""}, file{"gone/inner", tar.TypeReg, 0o644, ""},
			file{"target", tar.TypeReg, 0o644, "old"}, file{"hard", tar.TypeLink, 0o644, "./target"}))
	mustRun(t, "-registry", host, "-recipe", writeFile(t, "image.json", recipeText), "-key", "k", "-base", "test/base:1", "-rootfs",
		writeTar(t, same, file{"target", tar.TypeReg, 0o644, "new"}, file{"hard", tar.TypeLink, 0o644, "./target"}))

	layers, err := pull(t, host+"/test/image:1").Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 2 {
		t.Fatalf("%d layers, want the base's and one of differences", len(layers))
	}
	content, err := layers[1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var names []string
	reader := tar.NewReader(content)
	for header, err := reader.Next(); err == nil; header, err = reader.Next() {
		names = append(names, header.Name)
	}
	// The hard link's own entry did not change, but what it leads to did.
	if want := []string{".wh.gone", "target", "hard"}; !slices.Equal(names, want) {
		t.Errorf("differences %q, want %q", names, want)
	}
}

// Whatever two root file systems are, the second as differences upon the first is the second.
func TestDifferencesRestoreTheUpperTree(t *testing.T) {
	host := testRegistry(t)
	base := writeFile(t, "image.json", strings.ReplaceAll(recipeText, "test/image", "test/base"))
	upper := writeFile(t, "image.json", recipeText)
	rapid.Check(t, func(rt *rapid.T) {
		lowerTar, upperTar := drawTar(rt, t, "lower"), drawTar(rt, t, "upper")
		want, err := readTreeFile(upperTar)
		if err != nil {
			rt.Fatal(err)
		}
		image, err := (&build{recipe: mustRecipe(t, base), key: "k", rootfs: lowerTar}).makeImage(t.Context(), t.TempDir())
		if err != nil {
			rt.Fatal(err)
		}
		ref, err := name.NewTag(host + "/test/base:1")
		if err != nil {
			rt.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			rt.Fatal(err)
		}
		derived := build{registry: host, recipe: mustRecipe(t, upper), key: "k", base: "test/base:1", rootfs: upperTar}
		image, err = derived.makeImage(t.Context(), t.TempDir())
		if err != nil {
			rt.Fatal(err)
		}
		got, err := imageTree(image)
		if err != nil {
			rt.Fatal(err)
		}
		if !maps.Equal(got, want) {
			rt.Fatalf("image holds %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	})
}

func mustRecipe(t testing.TB, path string) recipe {
	t.Helper()
	r, err := readRecipe(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// drawTar draws a small tree over few names, so that two draws often share paths with other kinds or content.
func drawTar(rt *rapid.T, t testing.TB, label string) string {
	files := map[string]file{}
	names := rapid.SampledFrom([]string{"a", "b", "c"})
	for range rapid.IntRange(0, 8).Draw(rt, label+" size") {
		parts := rapid.SliceOfN(names, 1, 3).Draw(rt, label+" path")
		for i := range parts {
			p := path.Join(parts[:i+1]...)
			if i+1 < len(parts) {
				files[p] = file{p, tar.TypeDir, 0o755, ""}
				continue
			}
			if _, ok := files[p]; !ok {
				kind := rapid.SampledFrom([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink}).Draw(rt, label+" kind")
				content := rapid.SampledFrom([]string{"x", "y"}).Draw(rt, label+" content")
				if kind == tar.TypeDir {
					content = ""
				}
				files[p] = file{p, kind, 0o700, content}
			}
		}
	}
	var sorted []file
	for _, p := range slices.Sorted(maps.Keys(files)) {
		sorted = append(sorted, files[p])
	}
	return writeTar(t, sorted...)
}

func TestBadInputIsAnErrorThatNamesIt(t *testing.T) {
	good := writeFile(t, "image.json", recipeText)
	for want, args := range map[string][]string{
		"no recipe":          {"-registry", "127.0.0.1:1", "-key", "k"},
		"no such file":       {"-recipe", filepath.Join(t.TempDir(), "absent")},
		`unknown field "x"`:  {"-recipe", writeFile(t, "image.json", `{"x": 1}`)},
		"at least one tag":   {"-recipe", writeFile(t, "image.json", `{"repository": "a"}`)},
		"pass -registry":     {"-recipe", good},
		"unexpected argumen": {"-recipe", good, "rest"},
		"connection refused": {"-recipe", good, "-registry", "127.0.0.1:1", "-key", "k"},
		"base image":         {"-recipe", good, "-registry", testRegistry(t), "-key", "k", "-base", "no/such:1"},
		"read tar":           {"-recipe", good, "-registry", testRegistry(t), "-key", "k", "-rootfs", writeFile(t, "x.tar", strings.Repeat("no tar ", 200))},
	} {
		err := run(t.Context(), args)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want one with %q", args, err, want)
		}
	}
}
