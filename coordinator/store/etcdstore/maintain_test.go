package etcdstore_test

import (
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
)

func TestADeadMemberKeepsNobodyFromMaintainingTheOthers(t *testing.T) {
	e := start(t, t.TempDir())
	t.Cleanup(func() { _ = e.Close() })
	dead := "unix://" + socket(t)
	database := func(endpoints ...string) *etcdstore.Database {
		c, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return etcdstore.NewDatabase(c, 0, false)
	}
	live := e.Client().Endpoints()[0]
	d := database(dead, live)
	if s, err := d.Status(t.Context()); err != nil || s.Size == 0 || s.Revision == 0 {
		t.Errorf("with a dead member: %+v, %v", s, err)
	}
	fill(t, e.Client())
	before, err := database(live).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Defragment(t.Context()); err == nil {
		t.Error("nothing was said of the member that could not be defragmented")
	}
	if s, err := database(live).Status(t.Context()); err != nil || s.Size > before.Size/2 {
		t.Errorf("the other one was not defragmented: %+v after %+v, %v", s, before, err)
	}
	if _, err := database(dead).Status(t.Context()); err == nil {
		t.Error("a store without a member that answers has a state")
	}
}

// fill leaves 4 MiB of free pages.
func fill(t *testing.T, c *clientv3.Client) {
	t.Helper()
	for range 8 {
		if _, err := c.Put(t.Context(), "/t/large", strings.Repeat("x", 512<<10)); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := c.Delete(t.Context(), "/t/large")
	if err == nil {
		_, err = c.Compact(t.Context(), gone.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err != nil {
		t.Fatal(err)
	}
}
