package archive

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inFolders are the files that lie directly in one of two folders.
func inFolders(name string) bool {
	return path.Dir(name) == ".github/workflows" || path.Dir(name) == ".slipway"
}

func TestFilesReadsWhatIsWantedAndNoFurther(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		".github/workflows/a.yml": "a", ".github/workflows/deep/b.yml": "b", ".github/c.yml": "c", ".slipway/d.yml": strings.Repeat("d", 10), ".slipwayx/e.yml": "e", "f.yml": "f", "!g": "g",
	}
	var names []string
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, ".slipway", "link.yml")); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := Pack(&packed, dir, append(names, ".slipway/link.yml")); err != nil {
		t.Fatal(err)
	}
	got, err := Files(bytes.NewReader(packed.Bytes()), ".slipway0", inFolders, 4)
	if err != nil || len(got) != 2 || string(got[".github/workflows/a.yml"]) != "a" || string(got[".slipway/d.yml"]) != "ddddd" {
		t.Fatalf("%q %v", got, err)
	}
	// What lies behind the folders is not looked at.
	many := slices.Clone(names)
	for i := range 200 {
		name := fmt.Sprintf("z%d", i)
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte{byte(i), 7, byte(i * 3)}, 20_000), 0o600); err != nil {
			t.Fatal(err)
		}
		many = append(many, name)
	}
	packed.Reset()
	if err := Pack(&packed, dir, many); err != nil {
		t.Fatal(err)
	}
	if _, err := Files(bytes.NewReader(packed.Bytes()[:packed.Len()/2]), ".slipway0", inFolders, 4); err != nil {
		t.Errorf("half of it is enough: %v", err)
	}
	if got, err := Files(bytes.NewReader(packed.Bytes()), "", func(name string) bool { return name == "z7" || name == "!g" }, 4); err != nil || len(got) != 2 {
		t.Errorf("without an end all of it is read: %q %v", got, err)
	}
	if _, err := Files(strings.NewReader("nonsense"), "", inFolders, 4); err == nil {
		t.Error("nonsense is no archive")
	}
}
