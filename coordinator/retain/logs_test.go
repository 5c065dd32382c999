package retain_test

import (
	"os"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/archive/archivetest"
)

func TestLogsStayForAnHourAfterTheyWereSealed(t *testing.T) {
	r := newRig(t)
	run, err := r.Finish(t.Context(), "p", "refs/heads/main", archivetest.Plan("ci", "a"))
	if err != nil {
		t.Fatal(err)
	}
	// Sealed hours after its end, as when somebody held its pod.
	r.clock.Advance(5 * time.Hour)
	if n, _, err := r.archiver.Step(t.Context()); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	// The file system has a clock of its own.
	if err := os.Chtimes(r.file(r.rows("p")[0].Bundle), r.clock.Now(), r.clock.Now()); err != nil {
		t.Fatal(err)
	}
	x := r.retainer()
	for _, want := range []int{1, 1, 0} {
		if err := x.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left, err := r.Logs.Runs(); err != nil || len(left) != want {
			t.Errorf("the logs of %v are left, not those of %d runs; %s was sealed; %v", left, want, run, err)
		}
		r.clock.Advance(35 * time.Minute)
	}
}
