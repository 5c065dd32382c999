package engine

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// counting counts the reads of a store.
type counting struct {
	store.Store
	reads int
}

// Range implements store.Store.
func (c *counting) Range(ctx context.Context, from, to string, limit int) ([]store.KV, bool, error) {
	c.reads++
	return c.Store.Range(ctx, from, to, limit)
}

func putRun(t interface{ Fatal(...any) }, s store.Store, id string, jobs int) {
	txn := store.Txn{}
	put := func(key string, value []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		txn.Branches = append(txn.Branches, store.Branch{Ops: []store.Op{{Key: key, Value: value}}})
	}
	header, err := encode(&statev1.RunHeader{Id: id})
	put(runKey(id), header, err)
	def, err := encode(&statev1.RunDefinition{Id: id})
	put(defKey(id), def, err)
	for i := range jobs {
		rec, err := encode(&statev1.JobRecord{RunId: id, Id: fmt.Sprintf("job.%d", i)})
		put(jobKey(id, fmt.Sprintf("job.%d", i)), rec, err)
	}
	if _, err := s.Commit(context.Background(), txn); err != nil {
		t.Fatal(err)
	}
}

func TestARunReaderReadsWhatReadRunDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := memstore.New()
		n := rapid.IntRange(1, 60).Draw(t, "runs")
		for i := range n {
			putRun(t, s, fmt.Sprintf("r%03d", i), rapid.IntRange(0, 40).Draw(t, "jobs"))
		}
		r := newRunReader(s)
		for i := range n + 2 { // the last two are not there
			if rapid.Bool().Draw(t, "skip") {
				continue
			}
			id := fmt.Sprintf("r%03d", i)
			want, err := readRun(context.Background(), s, id)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.read(context.Background(), id)
			if err != nil || (got == nil) != (want == nil) {
				t.Fatalf("%s: %v, %v, want %v", id, got, err, want)
			}
			if got == nil {
				continue
			}
			if got.header.GetId() != id || got.def.GetId() != id || got.headerRev != want.headerRev || len(got.jobs) != len(want.jobs) {
				t.Fatalf("%s: %+v, want %+v", id, got, want)
			}
			for k, j := range got.jobs {
				if j.rec.GetId() != want.jobs[k].rec.GetId() || j.rev != want.jobs[k].rev {
					t.Fatalf("%s: job %d is %v", id, k, j.rec)
				}
			}
		}
	})
}

func TestARunReaderReadsPages(t *testing.T) {
	s := &counting{Store: memstore.New()}
	const n = 5000
	for i := range n {
		putRun(t, s, fmt.Sprintf("r%05d", i), 1)
	}
	r := newRunReader(s)
	for i := range n {
		if run, err := r.read(t.Context(), fmt.Sprintf("r%05d", i)); err != nil || run == nil {
			t.Fatal(i, run, err)
		}
	}
	if s.reads > n/100 {
		t.Errorf("%d reads for %d runs", s.reads, n)
	}
}
