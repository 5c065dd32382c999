package maintain_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/maintain"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// database remembers what was done to it.
type database struct {
	status    maintain.Status
	compacted []int64
	defrags   int
}

func (d *database) Status(context.Context) (maintain.Status, error) { return d.status, nil }
func (d *database) Compact(_ context.Context, to int64) error {
	d.compacted = append(d.compacted, to)
	return nil
}

func (d *database) Defragment(context.Context) error {
	d.defrags++
	return nil
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func keeper(d *database) (*maintain.Keeper, func(revision, size, inUse int64)) {
	c := clock.NewFake(time.UnixMilli(1_700_000_000_000))
	k := maintain.New(d, c, quiet, nil)
	return k, func(revision, size, inUse int64) {
		d.status = maintain.Status{Revision: revision, Size: size << 20, InUse: inUse << 20, Quota: 4 << 30}
		if err := k.Step(context.Background()); err != nil {
			panic(err)
		}
		c.Advance(maintain.Every)
	}
}

func TestRevisionsAreDroppedOnceTheyAreOldAndMany(t *testing.T) {
	d := &database{}
	_, look := keeper(d)
	look(5000, 10, 10) // nobody knows how old they are
	look(5500, 10, 10)
	look(5600, 10, 10)
	look(90_000, 10, 10) // the last look's are old; the others may be being read
	look(90_001, 10, 10)
	if want := []int64{4500, 4600, 5600, 89_001}; len(d.compacted) != len(want) || d.compacted[0] != want[0] || d.compacted[2] != want[2] || d.compacted[3] != want[3] {
		t.Errorf("compacted to %v, want %v", d.compacted, want)
	}
}

func TestDefragmentationWhenItIsWorthItAndQuiet(t *testing.T) {
	for name, c := range map[string]struct {
		revisions   int64
		size, inUse int64
		want        int
	}{
		"small": {0, 100, 1, 0}, "full": {0, 1000, 600, 0}, "quiet and half empty": {10, 1000, 400, 1}, "busy": {100_000, 1000, 400, 0},
		"busy and nearly at the quota": {100_000, 3800, 400, 1},
	} {
		d := &database{}
		_, look := keeper(d)
		for i := range int64(4) {
			look(1_000_000+i*c.revisions, c.size, c.inUse)
		}
		if d.defrags != c.want {
			t.Errorf("%s: %d defragmentations, want %d", name, d.defrags, c.want)
		}
	}
}

func TestAFullStoreTakesNoRunsAndSaysWhy(t *testing.T) {
	k, look := keeper(&database{})
	look(1, 3000, 3000)
	if err := k.Full(); err != nil {
		t.Fatalf("at 73 %%: %v", err)
	}
	look(2, 3500, 3400)
	err := k.Full()
	if rpcerr.ReasonOf(err) != rpcerr.Busy || !strings.Contains(rpcerr.Message(err), "3400 of 4096 MiB") || rpcerr.RetryAfter(err) == 0 {
		t.Fatalf("at 83 %%: %v", err)
	}
	look(3, 3500, 100)
	if err := k.Full(); err != nil {
		t.Fatalf("with room again: %v", err)
	}
}

func TestRequestIDsAreForgottenAfterADay(t *testing.T) {
	c := clock.NewFake(time.UnixMilli(1_700_000_000_000))
	s := memstore.New()
	put := func(key string, age time.Duration) {
		value, err := proto.Marshal(&statev1.RequestRecord{RunId: "r", CreatedMs: c.Now().Add(-age).UnixMilli()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: "/slipway/v1/req/" + key, Value: value}}}}}); err != nil {
			t.Fatal(err)
		}
	}
	put("new", time.Hour)
	for i := range 250 {
		put("old"+strings.Repeat("x", i), 25*time.Hour)
	}
	r := maintain.Requests{Store: s, Each: engine.EachRequest, Clock: c, Log: quiet}
	if n, err := r.Step(t.Context()); err != nil || n != 250 {
		t.Fatalf("%d, %v", n, err)
	}
	kvs, _, err := s.Range(t.Context(), "/slipway/", store.PrefixEnd("/slipway/"), 0)
	if err != nil || len(kvs) != 1 || !strings.HasSuffix(kvs[0].Key, "/new") {
		t.Fatalf("%v, %v", kvs, err)
	}
	old := maintain.Requests{Store: s, Each: engine.EachRequest, Clock: clock.NewFake(c.Now().Add(48 * time.Hour)), Log: quiet, Fence: []store.Compare{{Key: "/slipway/v1/leader", Revision: 7}}}
	if _, err := old.Step(t.Context()); err == nil {
		t.Error("a former leader removed something")
	}
}
