package logs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/logs"
	"pgregory.net/rapid"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t interface{ Fatal(...any) }, dir string) *logs.Store {
	s, err := logs.Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func register(t interface{ Fatal(...any) }, s *logs.Store, run, attempt string) {
	if err := s.Register(logs.Meta{Run: run, Job: "build", Attempt: attempt, Agent: "agent", TokenHash: "hash"}); err != nil {
		t.Fatal(err)
	}
}

func writer(t interface{ Fatal(...any) }, s *logs.Store, attempt string, step uint32) *logs.Writer {
	w, err := s.Writer(attempt, step)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func readAll(t interface{ Fatal(...any) }, s *logs.Store, attempt string, step uint32) []byte {
	var all []byte
	buf := make([]byte, 7)
	for {
		n, err := s.ReadAt(attempt, step, buf, int64(len(all)))
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever a sender repeats, and however often the coordinator restarts between, the log is the bytes that were sent.
func TestAnyPushesGiveTheExactBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "logs")
		if err != nil {
			rt.Fatal(err)
		}
		content := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(rt, "content")
		s := open(rt, dir)
		register(rt, s, "run1", "att1")
		w := writer(rt, s, "att1", 3)
		var size int
		var acked int64
		for range rapid.IntRange(1, 30).Draw(rt, "pushes") {
			from := rapid.IntRange(0, len(content)).Draw(rt, "from")
			to := rapid.IntRange(from, len(content)).Draw(rt, "to")
			err := w.Append(int64(from), content[from:to], to == len(content) && from <= size)
			var gap *logs.GapError
			switch {
			case from > size:
				if !errors.As(err, &gap) || gap.Want != int64(size) {
					rt.Fatalf("a gap at %d after %d bytes: %v", from, size, err)
				}
			case err != nil:
				rt.Fatalf("Append [%d,%d) after %d bytes: %v", from, to, size, err)
			default:
				size = max(size, to)
			}
			switch rapid.IntRange(0, 3).Draw(rt, "then") {
			case 0:
				if acked, err = w.Sync(); err != nil || acked != int64(size) {
					rt.Fatalf("Sync = %d, %v, want %d", acked, err, size)
				}
			case 1:
				w.Close()
				s = open(rt, dir)
				w = writer(rt, s, "att1", 3)
			}
		}
		if err := w.Append(int64(size), content[size:], true); err != nil {
			rt.Fatalf("the rest: %v", err)
		}
		w.Close()
		if got := readAll(rt, s, "att1", 3); !bytes.Equal(got, content) {
			rt.Fatalf("the log is %q, want %q", got, content)
		}
	})
}

func TestEndHoldsAndIsDurable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	register(t, s, "run1", "att1")
	w := writer(t, s, "att1", 1)
	if err := w.Append(0, []byte("hello\n"), true); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(6, []byte("more"), false); !errors.Is(err, logs.ErrEnded) {
		t.Fatalf("bytes after the end: %v", err)
	}
	if err := w.Append(0, []byte("hello\n"), true); err != nil {
		t.Fatalf("the same end again: %v", err)
	}
	if n, err := w.Sync(); err != nil || n != 6 {
		t.Fatal(n, err)
	}
	w.Close()
	infos, err := open(t, dir).List("run1")
	if err != nil || len(infos) != 1 || !infos[0].Complete() || infos[0].Job != "build" || infos[0].Size != 6 {
		t.Fatalf("after a restart: %+v, %v", infos, err)
	}
}

func TestFinalReportSaysWhatIsMissingAndWhatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	register(t, s, "run1", "att1")
	w := writer(t, s, "att1", 1)
	if err := w.Append(0, []byte("abc"), false); err != nil {
		t.Fatal(err)
	}
	sums := []logs.Sum{{Step: 1, Length: 6, SHA256: sha([]byte("abcdef"))}, {Step: 2, Length: 2, SHA256: sha([]byte("xy"))}, {Step: 3}}
	if err := s.Finish("att1", sums); err != nil {
		t.Fatal(err)
	}
	infos, _ := s.List("run1")
	if len(infos) != 2 || infos[0].Complete() || infos[1].Complete() || infos[1].Step != 2 {
		t.Fatalf("before the rest: %+v", infos)
	}
	if err := w.Append(3, []byte("def"), true); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w2 := writer(t, s, "att1", 2)
	if err := w2.Append(0, []byte("XY"), true); err != nil {
		t.Fatal(err)
	}
	w2.Close()
	infos, _ = s.List("run1")
	if !infos[0].Complete() || infos[0].Damaged || !infos[1].Complete() || !infos[1].Damaged {
		t.Fatalf("after the rest: %+v", infos)
	}
	if s2 := open(t, dir); !s2.Finished("att1") {
		t.Fatal("the sums were lost in a restart")
	}
}

func TestFollowersHearOfEveryChange(t *testing.T) {
	s := open(t, t.TempDir())
	register(t, s, "run1", "att1")
	const chunks = 200
	var wg sync.WaitGroup
	results := make(chan []byte, 4)
	for range cap(results) {
		wg.Go(func() {
			var got []byte
			follower := s.Follow("run1")
			defer follower.Close()
			for {
				changed := follower.Changed()
				infos, err := s.List("run1")
				if err != nil {
					t.Error(err)
					return
				}
				buf := make([]byte, 1000)
				for len(infos) > 0 {
					n, err := s.ReadAt("att1", 1, buf, int64(len(got)))
					got = append(got, buf[:n]...)
					if err != nil {
						break
					}
				}
				if len(infos) > 0 && infos[0].Complete() {
					results <- got
					return
				}
				<-changed
			}
		})
	}
	w := writer(t, s, "att1", 1)
	defer w.Close()
	var want []byte
	for i := range chunks {
		data := bytes.Repeat([]byte{byte(i)}, i%17)
		if err := w.Append(int64(len(want)), data, i == chunks-1); err != nil {
			t.Fatal(err)
		}
		want = append(want, data...)
	}
	wg.Wait()
	for range cap(results) {
		if got := <-results; !bytes.Equal(got, want) {
			t.Fatalf("a follower saw %d bytes, want %d", len(got), len(want))
		}
	}
	if n := s.Followed(); n != 0 {
		t.Fatalf("%d runs are followed by nobody", n)
	}
}

// A final report comes from a host that the coordinator does not own.
func TestSumsThatCantBeAreLeftOut(t *testing.T) {
	s := open(t, t.TempDir())
	register(t, s, "run1", "att1")
	good := logs.Sum{Step: 1, Length: 3, SHA256: sha([]byte("abc"))}
	sums := []logs.Sum{good, {Step: 10_000, Length: 1, SHA256: good.SHA256}, {Step: 2, Length: -1, SHA256: good.SHA256}, {Step: 3, Length: 1, SHA256: good.SHA256 + "0"}}
	if err := s.Finish("att1", sums); err != nil {
		t.Fatal(err)
	}
	infos, err := s.List("run1")
	if err != nil || len(infos) != 1 || infos[0].Step != 1 || infos[0].Want != 3 {
		t.Fatalf("%v %v", infos, err)
	}
}

func TestConcurrentSyncsAcknowledgeNoMoreThanIsWritten(t *testing.T) {
	s := open(t, t.TempDir())
	register(t, s, "run1", "att1")
	w := writer(t, s, "att1", 0)
	defer w.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		if err := w.Append(int64(i*10), make([]byte, 10), false); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if n, err := w.Sync(); err != nil || n < int64((i+1)*10) || n > 500 {
				t.Errorf("sync after %d bytes = %d, %v", (i+1)*10, n, err)
			}
		})
	}
	wg.Wait()
}

func TestNamesCantLeaveTheStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "store"))
	for _, bad := range []string{"", "..", "../x", "a/b", "a\x00", ".hidden", string(make([]byte, 200))} {
		if err := s.Register(logs.Meta{Run: "run1", Attempt: bad}); !errors.Is(err, logs.ErrBadName) {
			t.Errorf("attempt %q: %v", bad, err)
		}
		if err := s.Register(logs.Meta{Run: bad, Attempt: "att1"}); !errors.Is(err, logs.ErrBadName) {
			t.Errorf("run %q: %v", bad, err)
		}
		if _, err := s.List(bad); !errors.Is(err, logs.ErrBadName) {
			t.Errorf("List %q: %v", bad, err)
		}
	}
	if _, err := s.Writer("nobody", 1); !errors.Is(err, logs.ErrUnknownAttempt) {
		t.Errorf("an unknown attempt: %v", err)
	}
	register(t, s, "run1", "att1")
	if _, err := s.Writer("att1", 1<<31); !errors.Is(err, logs.ErrBadName) {
		t.Errorf("step 2^31: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Fatalf("files outside the store: %v", entries)
	}
}

func TestMemoryForgetsWhatNobodyUses(t *testing.T) {
	s := open(t, t.TempDir())
	s.Keep(8)
	id := func(i int) string { return "att" + string(rune('a'+i)) }
	for i := range 20 {
		register(t, s, "run1", id(i))
		w := writer(t, s, id(i), 1)
		if err := w.Append(0, []byte{byte(i)}, true); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	if n := s.InMemory(); n > 8 {
		t.Fatalf("%d attempts in memory", n)
	}
	if got := readAll(t, s, id(0), 1); len(got) != 1 || got[0] != 0 {
		t.Fatalf("read back %v", got)
	}
}
