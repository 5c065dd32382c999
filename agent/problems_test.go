package agent_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// setSchema makes a database one of another version's agent.
func setSchema(t *testing.T, h *host, n uint32) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(h.dir, "data/state/state.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("schema"), binary.BigEndian.AppendUint32(nil, n))
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func degraded(h *host, text string) func() bool {
	return func() bool {
		p := h.c.Beat().GetProblems()
		return len(p) == 1 && strings.HasPrefix(p[0], "degraded: ") && strings.Contains(p[0], text)
	}
}

// An agent that is older than its database touches nothing, and the jobs of the newer one are not lost.
func TestAnOlderAgentKeepsTheJobsOfANewerOne(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.down()
	setSchema(t, h, 99)
	h.up()
	h.c.Wait("it holds the job", func() bool { hellos := h.c.Hellos(); return len(hellos) == 2 && len(hellos[1].GetAttempts()) == 1 })
	h.c.Wait("it says what is wrong", degraded(h, "start the newer agent"))
	h.c.Offer(job("a2", sh("echo no")))
	h.c.Wait("it takes no work", func() bool { return strings.Contains(h.c.Attempt("a2").Rejected, "newer agent") })
	if pods := h.pods(); len(pods) != 1 {
		t.Fatalf("pods %v", pods)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.down()
	setSchema(t, h, 1)
	h.up()
	a := h.c.WaitDone("a1")
	if logOf(a, 1) != "begun\nended\n" || a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("log %q, result %s", logOf(a, 1), a.Last().GetResult())
	}
}

// A damaged database is put aside, said aloud, and costs no job.
func TestADamagedDatabaseCostsNoJob(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended"), sh("echo second")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.down()
	if err := os.Truncate(filepath.Join(h.dir, "data/state/state.db"), 5000); err != nil {
		t.Fatal(err)
	}
	h.up()
	h.c.Wait("it says what is wrong", degraded(h, "was damaged and was put aside"))
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := h.c.WaitDone("a1")
	if logOf(a, 1) != "begun\nended\n" || logOf(a, 2) != "second\n" || a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("logs %q, %q, result %s", logOf(a, 1), logOf(a, 2), a.Last().GetResult())
	}
	run(t, h, "a2", sh("echo further"))
	if !strings.Contains(h.logText(), "degraded: the agent's database was damaged") {
		t.Error("the log does not say it")
	}
}
