package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func openMirrored(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := OpenWith(Config{Dir: filepath.Join(dir, "state"), Boot: "b", Mirror: filepath.Join(dir, "memory")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if db.bolt != nil {
			_ = guarded(db.bolt.Close)
		}
	})
	return db
}

func wantProblem(t *testing.T, db *DB, texts ...string) {
	t.Helper()
	all := strings.Join(db.Problems(), "\n")
	if len(db.Problems()) != 1 || !strings.HasPrefix(all, "degraded: ") {
		t.Errorf("problems %q", db.Problems())
	}
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("problems %q do not say %q", all, text)
		}
	}
}

// TestADamagedDatabaseLosesNoAttempt cuts a database short at every page, and overwrites every page: whatever is left of it, the next process knows every
// attempt as it was, and never crashes.
func TestADamagedDatabaseLosesNoAttempt(t *testing.T) {
	master := t.TempDir()
	db := openMirrored(t, master)
	const n = 60
	for i := range n {
		if err := db.Create(&fleetv1.Assignment{AttemptId: fmt.Sprintf("a%03d", i), RunId: "r", Contexts: strings.Repeat("x", 1000)}, &Progress{Seq: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Save("a007", &Progress{Seq: 9, Phase: PhaseRunning}); err != nil {
		t.Fatal(err)
	}
	if err := db.bolt.Close(); err != nil { // killed
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(master, "state", "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	check := func(t *testing.T, content []byte) (aside bool) {
		t.Helper()
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(master)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "state", "state.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		db := openMirrored(t, dir)
		all, err := db.Load()
		if err != nil || len(all) != n || all["a007"].Progress.Seq != 9 || all["a030"].Assignment.GetRunId() != "r" {
			t.Fatalf("%d attempts, %v", len(all), err)
		}
		if err := db.Save("a008", &Progress{Seq: 2}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path + ".damaged"); err == nil {
			aside = true
			wantProblem(t, db, path+".damaged", fmt.Sprintf("%d attempts go on", n))
			if err := os.Remove(path + ".damaged"); err != nil {
				t.Fatal(err)
			}
			db.Mend()
			if p := db.Problems(); len(p) != 0 {
				t.Errorf("problems %q although nothing lies aside", p)
			}
		}
		if err := guarded(db.bolt.Close); err != nil {
			t.Fatal(err)
		}
		if all, err = openMirrored(t, dir).Load(); err != nil || len(all) != n || all["a008"].Progress.Seq != 2 {
			t.Fatalf("after another restart: %d attempts, %v", len(all), err)
		}
		return aside
	}
	put := 0
	for size := 0; size < len(whole); size += max(page, len(whole)/12/page*page) {
		t.Run(fmt.Sprintf("cut at %d", size), func(t *testing.T) {
			if check(t, whole[:size]) {
				put++
			}
		})
	}
	for at := 0; at < len(whole); at += max(page, len(whole)/12/page*page) {
		t.Run(fmt.Sprintf("noise at %d", at), func(t *testing.T) {
			content := append([]byte(nil), whole...)
			for i := at; i < min(at+page, len(content)); i++ {
				content[i] = 0xa5
			}
			if check(t, content) {
				put++
			}
		})
	}
	if put < 10 {
		t.Errorf("only %d of the damages were noticed", put)
	}
}

// TestAFullDisk fills the file system under an open database.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "state")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small file system can't be mounted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	db := openMirrored(t, dir)
	if err := db.Create(&fleetv1.Assignment{AttemptId: "a"}, &Progress{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	fill := func() {
		t.Helper()
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		_ = f.Close()
	}
	fill()
	// It is grown until there is no room: new attempts are refused, what is held is remembered.
	var err error
	for i := 0; err == nil && i < 10_000; i++ {
		err = db.Create(&fleetv1.Assignment{AttemptId: fmt.Sprintf("more%d", i), Contexts: strings.Repeat("x", 8<<10)}, &Progress{Seq: 1})
	}
	if err == nil {
		t.Fatal("the disk never was full")
	}
	wantProblem(t, db, "no space left on device", "free space", "new jobs are refused")
	held, err := db.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Save("a", &Progress{Seq: 5, Reason: strings.Repeat("x", 64<<10)}); err != nil {
		t.Errorf("progress is not kept: %v", err)
	}
	again := func() {
		t.Helper()
		// Killed and started again, on the full disk.
		if err := guarded(db.bolt.Close); err != nil {
			t.Fatal(err)
		}
		db = openMirrored(t, dir)
		all, err := db.Load()
		if err != nil || len(all) != len(held) || all["a"].Progress.Seq != 5 {
			t.Fatalf("%d attempts of %d, %v, %v", len(all), len(held), all["a"].Progress, err)
		}
		if _, err := os.Stat(db.path + ".damaged"); err == nil {
			t.Error("a database on a full disk was put aside")
		}
	}
	again()
	// A look around does not mend what can't be; with room it does, and what was kept in memory only is on the disk again.
	if err := db.Save("a", &Progress{Seq: 6, Reason: strings.Repeat("x", 64<<10)}); err != nil {
		t.Fatal(err)
	}
	db.Mend()
	wantProblem(t, db, "no space left on device")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	db.Mend()
	if p := db.Problems(); len(p) != 0 {
		t.Errorf("problems %q", p)
	}
	all, err := load(db.bolt)
	if err != nil || all["a"].Progress.Seq != 6 {
		t.Errorf("on the disk: %v, %v", all["a"].Progress, err)
	}
}

// TestADatabaseThatCannotBeMade begins on a disk that is full already.
func TestADatabaseThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "state")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("a small file system can't be mounted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	db := openMirrored(t, dir)
	wantProblem(t, db, "no space left on device")
	if err := db.Create(&fleetv1.Assignment{AttemptId: "a"}, &Progress{Seq: 1}); err == nil {
		t.Error("an attempt was taken")
	}
	if all, err := db.Load(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	db.Mend()
	if p := db.Problems(); len(p) != 0 {
		t.Errorf("problems %q", p)
	}
	if err := db.Create(&fleetv1.Assignment{AttemptId: "a"}, &Progress{Seq: 1}); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheCopyInMemoryIsOfThisBootOnly(t *testing.T) {
	dir := t.TempDir()
	db := openMirrored(t, dir)
	create(t, db, "a")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	db, err := OpenWith(Config{Dir: filepath.Join(dir, "state"), Boot: "another", Mirror: filepath.Join(dir, "memory")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if all, err := db.Load(); err != nil || len(all) != 0 {
		t.Errorf("after another boot: %v, %v", all, err)
	}
}

// BenchmarkSaveMirrored is BenchmarkSave with a second copy, on whatever the temporary directory is.
func BenchmarkSaveMirrored(b *testing.B) {
	memory, err := os.MkdirTemp("/dev/shm", "slipway-bench")
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(memory)
	db, err := OpenWith(Config{Dir: b.TempDir(), Boot: "b", Mirror: memory})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	p := &Progress{}
	for i := range 20 {
		p.Steps = append(p.Steps, &Step{Number: uint32(i), Name: "Run something"})
	}
	for b.Loop() {
		if err := db.Save("a", p); err != nil {
			b.Fatal(err)
		}
	}
}
