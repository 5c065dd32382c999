package idlemem

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fileRSS is how much of files this process has in memory, in kB.
func fileRSS(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "RssFile:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatal("/proc/self/status has no RssFile")
	return 0
}

func TestReleaseLetsGoOfTheFile(t *testing.T) {
	before := fileRSS(t)
	if err := Release(); err != nil {
		t.Fatal(err)
	}
	if after := fileRSS(t); after >= before {
		t.Errorf("%d kB of files before, %d after", before, after)
	}
}

func TestKeepReleasesOnceWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			Keep(ctx, func() bool { asked++; return true })
		}()
		time.Sleep(4*look + look/2)
		cancel()
		<-done
		if asked != 4 {
			t.Errorf("asked %d times, want 4", asked)
		}
	})
}

func TestParseTakesOnlyTheExecutable(t *testing.T) {
	line := func(s string) []string { return strings.Fields(s) }
	if m := parse(line("00400000-0133d000 r-xp 00000000 fe:00 123 /bin/x"), "/bin/x"); m == nil || m.from != 0x400000 || m.to != 0x133d000 {
		t.Errorf("%+v", m)
	}
	for _, s := range []string{
		"00400000-0133d000 rw-p 00000000 fe:00 123 /bin/x", "00400000-0133d000 r-xp 00000000 fe:00 123 /bin/y",
		"00400000-0133d000 r--s 00000000 fe:00 123 /bin/x", "z-1 r--p 00000000 fe:00 123 /bin/x",
	} {
		if m := parse(line(s), "/bin/x"); m != nil {
			t.Errorf("%s: %+v", s, m)
		}
	}
}

func TestPoolsAreEmptied(t *testing.T) {
	var pool sync.Pool
	for range 100 {
		pool.Put(new([1 << 10]byte))
	}
	if err := Release(); err != nil {
		t.Fatal(err)
	}
	if pool.Get() != nil {
		t.Error("something is left in a pool")
	}
}
