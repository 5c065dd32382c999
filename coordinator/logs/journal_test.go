package logs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/logs"
)

func TestAnAttemptWithoutLogsIsOnlyALine(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	register(t, s, "run1", "att1")
	register(t, s, "run1", "att2")
	if err := s.Finish("att1", nil); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"attempts", "runs"} {
		if entries, err := os.ReadDir(filepath.Join(dir, sub)); err != nil || len(entries) > 0 {
			t.Fatalf("%s has %v, %v", sub, entries, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The next process knows it still, and may write its first byte.
	s = open(t, dir)
	if m, err := s.Meta("att2"); err != nil || m.Run != "run1" || m.TokenHash != "hash" {
		t.Fatalf("%+v, %v", m, err)
	}
	w := writer(t, s, "att2", 1)
	defer w.Close()
	if err := w.Append(0, []byte("late"), true); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, s, "att2", 1); string(got) != "late" {
		t.Fatalf("%q", got)
	}
	if infos, err := s.List("run1"); err != nil || len(infos) != 1 || !infos[0].Complete() {
		t.Fatalf("%+v, %v", infos, err)
	}
}

func TestALineCutShortIsNoAttempt(t *testing.T) {
	dir := t.TempDir()
	register(t, open(t, dir), "run1", "att1")
	path := filepath.Join(dir, "registered.jsonl")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, data[:20]...), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	register(t, s, "run1", "att2") // on a line of its own
	s = open(t, dir)
	for _, id := range []string{"att1", "att2"} {
		if _, err := s.Meta(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := s.Meta("att3"); !errors.Is(err, logs.ErrUnknownAttempt) {
		t.Fatal(err)
	}
}

func TestTheFileOfRegistrationsIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	const live, all = 10, 45_000
	for i := range all {
		id := fmt.Sprintf("att%06d", i)
		register(t, s, "run1", id)
		if i >= live {
			if err := s.Finish(id, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := s.Lines(); n > all/2 {
		t.Fatalf("%d lines", n)
	}
	for i := range live {
		if _, err := s.Meta(fmt.Sprintf("att%06d", i)); err != nil {
			t.Fatal(err)
		}
	}
}
