package scenarios

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestArtifactsBetweenJobs: globs, names with patterns, all of them, merged, overwritten, and their outputs.
func TestArtifactsBetweenJobs(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  up:
    runs-on: busybox
    strategy: {matrix: {leg: [x, y]}}
    steps:
      - run: |
          mkdir -p out/deep/er other; echo "one ${{ matrix.leg }}" > out/one.txt; echo two > out/deep/er/two.txt; echo skip > out/deep/skip.log
          echo hidden > out/.hidden; echo o > other/o.txt; printf '#!/bin/sh\necho runs\n' > out/tool; chmod +x out/tool
      - id: up
        uses: actions/upload-artifact@v4
        with:
          name: files-${{ matrix.leg }}
          path: |
            out/**
            other/*.txt
            !out/**/*.log
      - run: echo "${{ steps.up.outputs.artifact-id != '' }} ${{ steps.up.outputs.artifact-digest != '' }}"
  single:
    runs-on: busybox
    steps:
      - run: mkdir out; echo 1 > out/n
      - {uses: actions/upload-artifact@v4, with: {name: single, path: out/n}}
      - run: echo 2 > out/n
      - {id: twice, uses: actions/upload-artifact@v4, with: {name: single, path: out/n}, continue-on-error: true}
      - {uses: actions/upload-artifact@v4, with: {name: single, path: out/n, overwrite: true}}
      - run: echo "${{ steps.twice.outcome }}"
  down:
    needs: [up, single]
    runs-on: busybox
    steps:
      - {uses: actions/download-artifact@v4, with: {name: single, path: one}}
      - {uses: actions/download-artifact@v4, with: {path: all}}
      - {uses: actions/download-artifact@v4, with: {pattern: 'files-*', path: merged, merge-multiple: true}}
      - {id: none, uses: actions/download-artifact@v4, with: {name: nope}, continue-on-error: true}
      - run: |
          cat one/n
          find all -type f | sort
          cat all/files-x/out/one.txt all/files-y/out/one.txt
          find merged -type f | sort
          echo "${{ steps.none.outcome }}"
`).run(succeeded)
	if log := o.log("up.0"); !strings.Contains(log, "true true\n") {
		t.Errorf("upload's outputs: %s", log)
	}
	if log := o.log("single"); !strings.Contains(log, "failure\n") {
		t.Errorf("a second upload of the same name went through: %s", log)
	}
	want := `2
all/files-x/other/o.txt
all/files-x/out/deep/er/two.txt
all/files-x/out/one.txt
all/files-x/out/tool
all/files-y/other/o.txt
all/files-y/out/deep/er/two.txt
all/files-y/out/one.txt
all/files-y/out/tool
all/single/n
one x
one y
merged/other/o.txt
merged/out/deep/er/two.txt
merged/out/one.txt
merged/out/tool
failure
`
	if log := o.log("down"); !strings.HasSuffix(log, want) {
		t.Errorf("log\n%s\nwant\n%s", log, want)
	}
	t.Run("fetched", func(t *testing.T) { fetchArtifacts(t, o) })
}

// fetchArtifacts lays the artifacts of TestArtifactsBetweenJobs out with the CLI.
func fetchArtifacts(t *testing.T, o outcome) {
	id := o.run.GetId()
	list := o.must("artifacts", "ls", id)
	for _, name := range []string{"files-x", "files-y", "single"} {
		if !strings.Contains(list, name) {
			t.Errorf("artifacts ls lacks %s:\n%s", name, list)
		}
	}
	if out := o.must("artifacts", "get", id, "files-x"); !strings.Contains(out, "4 files") {
		t.Errorf("artifacts get: %q", out)
	}
	if got := readFile(t, o.dir+"/files-x/out/one.txt"); got != "one x\n" {
		t.Errorf("one.txt is %q", got)
	}
	o.must("artifacts", "get", id, "single", "--zip", "single.zip")
	r, err := zip.OpenReader(o.dir + "/single.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(r.File) != 1 || r.File[0].Name != "n" {
		t.Errorf("zip: %v", r.File)
	}
	refused(t, &project{t, o.dir}, []string{"nope"}, "artifacts", "get", id, "nope")
	if _, err := os.Stat(o.dir + "/nope"); err == nil {
		t.Error("a directory was made for an artifact that does not exist")
	}
}

// TestNoFilesFound: warn goes on with a warning, ignore without, error fails.
func TestNoFilesFound(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
jobs:
  a:
    runs-on: busybox
    steps:
      - {uses: actions/upload-artifact@v4, with: {name: one, path: nope/}}
      - {uses: actions/upload-artifact@v4, with: {name: two, path: nope/, if-no-files-found: ignore}}
      - {id: hard, uses: actions/upload-artifact@v4, with: {name: three, path: "nope/*.xml", if-no-files-found: error}, continue-on-error: true}
      - {run: "echo ${{ steps.hard.outcome }}", shell: sh}
  b:
    runs-on: busybox
    steps:
      - {uses: actions/upload-artifact@v4, with: {name: four, path: nope, if-no-files-found: error}}
`).run(failed)
	o.wantStates("a SUCCEEDED, b FAILED")
	if !strings.HasSuffix(o.log("a"), "failure\n") || len(o.run.GetArtifacts()) != 0 {
		t.Errorf("log %s, artifacts %v", o.log("a"), o.run.GetArtifacts())
	}
	if a := o.job("a").GetAnnotations(); len(a) != 1 || a[0].GetLevel() != "warning" || a[0].GetStep() != 1 {
		t.Errorf("annotations %v", a)
	}
	if m := o.job("b").GetFailure().GetMessage(); !strings.Contains(m, "nope") {
		t.Errorf("failure %q", m)
	}
}

// TestJUnit files in an artifact are summarised by `runs show`.
func TestJUnit(t *testing.T) {
	t.Parallel()
	o := workflow(t, oneJob(`
steps:
  - shell: sh
    run: |
      mkdir r
      echo '<testsuites><testsuite name="shop" tests="3" failures="1" time="1.5"><testcase name="buys" classname="c" time="0.5"/><testcase name="sells" classname="c"><failure message="no money">trace</failure></testcase><testcase name="later"><skipped/></testcase></testsuite></testsuites>' > r/junit.xml
  - {uses: actions/upload-artifact@v4, with: {name: results, path: r/}}
`)).run(succeeded)
	text := o.must("runs", "show", o.run.GetId())
	for _, want := range []string{"3 run, 1 failed, 0 errors, 1 skipped", "› sells", "no money"} {
		if !strings.Contains(text, want) {
			t.Errorf("runs show lacks %q:\n%s", want, text)
		}
	}
}

// treeSum is the SHA-256 of the contents of all files of a directory, in the order of their names.
func treeSum(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	for _, name := range files(t, dir) {
		h.Write([]byte(readFile(t, filepath.Join(dir, name))))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// files names the files below a directory, sorted.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
